package job

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/org/aml-train/internal/lazyregexp"
)

// Azure ML's client reads job files with PyYAML, which knows the scalars of YAML 1.1:
// "on" is true, 017 is 15, 12:30:45 is 45045, and 1e3 is text. These are its rules
// (yaml/resolver.py, yaml/constructor.py).
var (
	yamlBool  = lazyregexp.New(`^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$`)
	yamlNull  = lazyregexp.New(`^(?:~|null|Null|NULL|)$`)
	yamlInt   = lazyregexp.New(`^[-+]?(?:0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*(?::[0-5]?[0-9])+)$`)
	yamlFloat = lazyregexp.New(`^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|` +
		`[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$`)
	yamlDate = lazyregexp.New(`^(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}` +
		`(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?)$`)
)

// sameDate is a date that Azure ML's client writes as it stands there.
var sameDate = lazyregexp.New(`^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?$`)

// plainScalar sets what a scalar without quotes means; false, where it means nothing.
func (v *value) plainScalar(text string) bool {
	v.text = text
	switch {
	case yamlNull.MatchString(text):
		v.kind = null
	case yamlBool.MatchString(text):
		return v.tagged("!!bool", text)
	case yamlFloat.MatchString(text):
		return v.tagged("!!float", text)
	case yamlInt.MatchString(text):
		return v.tagged("!!int", text)
	case yamlDate.MatchString(text):
		return v.tagged("!!timestamp", text)
	case text == "=" || text == "<<":
		return false
	default:
		v.kind, v.scalar = str, text
	}
	return true
}

// tagged sets what a scalar means by its tag; false, where it cannot be that.
func (v *value) tagged(tag, text string) bool {
	v.text = text
	switch tag {
	case "!!str":
		v.kind, v.scalar = str, text
	case "!!null":
		v.kind, v.scalar = null, nil
	case "!!bool":
		b, ok := map[string]bool{"yes": true, "true": true, "on": true, "no": false, "false": false,
			"off": false}[strings.ToLower(text)]
		v.kind, v.scalar = boolean, b
		return ok
	case "!!int":
		n := pythonInt(text)
		v.kind, v.scalar = number, n
		return n != nil
	case "!!float":
		f, ok := yamlFloatOf(text)
		v.kind, v.scalar = number, f
		return ok
	case "!!timestamp":
		day, _, _ := strings.Cut(strings.ToUpper(strings.Join(strings.Fields(text), "T")), "T")
		_, err := time.Parse("2006-1-2", day)
		v.kind, v.scalar = date, text
		return err == nil
	default:
		return false
	}
	return true
}

// pythonInt is an int of PyYAML: an int64, a uint64, a *big.Int, or nil for none.
func pythonInt(text string) any {
	digits, negative := unsigned(text)
	base := 10
	switch {
	case strings.HasPrefix(digits, "0b"):
		digits, base = digits[2:], 2
	case strings.HasPrefix(digits, "0x"):
		digits, base = digits[2:], 16
	case len(digits) > 1 && digits[0] == '0':
		base = 8
	}
	n, ok := new(big.Int), len(digits) < 1000
	for part := range strings.SplitSeq(digits, ":") { // sexagesimal
		p, fine := new(big.Int).SetString(part, base)
		if ok = ok && fine && !strings.ContainsAny(part, "+-"); !ok {
			return nil
		}
		n.Add(n.Mul(n, big.NewInt(60)), p)
	}
	if negative {
		n.Neg(n)
	}
	switch {
	case n.IsInt64():
		return n.Int64()
	case n.IsUint64():
		return n.Uint64()
	}
	return n
}

func yamlFloatOf(text string) (float64, bool) {
	digits, negative := unsigned(strings.ToLower(text))
	sum := 0.0
	switch digits {
	case ".inf":
		sum = math.Inf(1)
	case ".nan":
		return math.NaN(), true
	default:
		for part := range strings.SplitSeq(digits, ":") {
			f, err := strconv.ParseFloat(part, 64)
			if err != nil && !math.IsInf(f, 0) || strings.Contains(part, "x") {
				return 0, false
			}
			sum = sum*60 + f
		}
	}
	if negative {
		sum = -sum
	}
	return sum, true
}

// unsigned takes the underscores and the sign off a number.
func unsigned(text string) (digits string, negative bool) {
	digits = strings.ReplaceAll(text, "_", "")
	if digits == "" || digits[0] != '-' && digits[0] != '+' {
		return digits, false
	}
	return digits[1:], digits[0] == '-'
}

// whole is what Azure ML's client makes of a scalar where it wants a whole number:
// Python's int(), without truth values, and without cutting a fraction off.
func (v *value) whole() (int64, bool) {
	switch n := v.scalar.(type) {
	case int64:
		return n, true
	case float64:
		return int64(n), math.Abs(n) < 1<<62 && n == math.Trunc(n)
	case string:
		if v.kind != str {
			return 0, false
		}
		n = strings.TrimSpace(n)
		if strings.Contains(n, "__") || strings.HasPrefix(n, "_") || strings.HasSuffix(n, "_") {
			return 0, false
		}
		i, err := strconv.ParseInt(strings.ReplaceAll(n, "_", ""), 10, 64)
		return i, err == nil
	}
	return 0, false
}

// truth is what Azure ML's client makes of a scalar where it wants a truth value
// (marshmallow.fields.Boolean).
func (v *value) truth() (truth, ok bool) {
	switch b := v.scalar.(type) {
	case bool:
		return b, true
	case int64:
		return b == 1, b == 0 || b == 1
	case float64:
		return b == 1, b == 0 || b == 1
	case string:
		switch b {
		case "t", "T", "true", "True", "TRUE", "on", "On", "ON", "y", "Y", "yes", "Yes", "YES", "1":
			return true, true
		case "f", "F", "false", "False", "FALSE", "off", "Off", "OFF", "n", "N", "no", "No", "NO", "0":
			return false, true
		}
	}
	return false, false
}
