// Package mistake answers: can whoever asked mend what went wrong?
//
// Bad usage, a job file or settings that are wrong, a run of that name that is not there: nothing
// was submitted, and asking again changes nothing until what is asked does. Every command then ends
// with the exit code 2.
package mistake

import (
	"errors"
	"fmt"
)

// Err is what every mistake is, by errors.Is: those of this package, and types elsewhere that say
// so in their method Is.
var Err = errors.New("a mistake in what was asked")

// wrapped makes a mistake of an error, whose text it has.
type wrapped struct{ error }

func (w wrapped) Unwrap() error   { return w.error }
func (w wrapped) Is(e error) bool { return e == Err }

// Of makes an error a mistake; nil stays nil.
func Of(err error) error {
	if err == nil {
		return nil
	}
	return wrapped{err}
}

// Errorf returns a mistake whose text, and what it wraps, is as fmt.Errorf makes it.
func Errorf(format string, args ...any) error { return wrapped{fmt.Errorf(format, args...)} }

// Is tells whether an error is a mistake, or wraps one.
func Is(err error) bool { return errors.Is(err, Err) }
