package secret

import (
	"strings"

	"github.com/org/aml-train/internal/lazyregexp"
)

// named is what the variables are called that people keep secrets in.
var named = lazyregexp.New(`(?i)(^|_)(token|secret|passw(or)?d|pwd|pat|sas|credentials?|creds|` +
	`(api|access|account|private|secret|storage)_?key|connection_?string)$`)

// Named tells whether a variable of that name holds a secret.
func Named(name string) bool { return named.MatchString(name) }

// Values are the values of the environment that are secrets by their names. A path
// to a file of credentials is none.
func Values(environ []string) []string {
	var values []string
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if named.MatchString(name) && !strings.HasPrefix(value, "/") {
			values = append(values, value)
		}
	}
	return values
}
