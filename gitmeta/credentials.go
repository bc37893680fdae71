package gitmeta

import (
	"strings"

	"github.com/org/aml-train/internal/lazyregexp"
)

var (
	scheme  = lazyregexp.New(`^[A-Za-z][A-Za-z0-9+.-]*://`)
	helper  = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9+.-]*::`)           // gitremote-helpers(7): TRANSPORT::ADDRESS
	address = lazyregexp.New(`^(\[[^][\s/@]+\]|[^][\s\\/:@]*)(:\d*)?$`) // HOST[:PORT]
	local   = lazyregexp.New(`^(\.|~|/[^/]|/?$|[A-Za-z]:[\\/])`)
	// scp is git's short form of an ssh address, [USER[:PASSWORD]@]HOST:PATH.
	scp = lazyregexp.New(`^(?:([^/:@]+)(?::(?s:.*))?@)?((?:\[[^][\s/@]+\]|[^\s/:@[]+):[^@]*)$`)
	// simpleScp needs no password to be found: any @ after its first is the path's.
	simpleScp = lazyregexp.New(`^[^/:@]+@(\[[^][\s/@]+\]|[^/:@[]+):`)
	// nested is what signs in within a path, as in https://PROXY/https://USER:PASSWORD@HOST/.
	nested = lazyregexp.New(`//[^/]*@|/[^/:]*:[^/]*@`)
)

// StripCredentials removes what could sign somebody in from a remote's address:
// the user and password of http and https and of an address without a scheme, the
// password of every other scheme and of the scp form, each query and fragment, the
// command of an ext:: remote. A local path holds none and stays as it is. Of what
// cannot be told apart, the scheme alone is left.
func StripCredentials(raw string) string {
	raw = strings.TrimSpace(raw)
	if transport := helper.FindString(raw); transport != "" {
		rest := raw[len(transport):]
		if strings.EqualFold(transport, "ext::") &&
			(!scheme.MatchString(rest) || strings.ContainsAny(rest, " \t\r\n")) {
			return transport
		}
		return transport + StripCredentials(rest)
	}
	if s := scheme.FindString(raw); s != "" {
		rest := raw[len(s):]
		s = strings.ToLower(s)
		return s + stripAuthority(rest, !strings.Contains(s, "http"))
	}
	switch {
	case strings.HasPrefix(raw, "//"):
		return "//" + stripAuthority(raw[2:], false)
	case local.MatchString(raw):
		if strings.Contains(raw, "://") {
			return ""
		}
		return raw
	case simpleScp.MatchString(raw):
		return nested.ReplaceAllString(beforeQuery(raw), "/")
	}
	return stripBare(raw)
}

// stripBare is for an address without a scheme, USER:PASSWORD@HOST:PATH or with a
// slash after the host.
func stripBare(raw string) string {
	end := len(raw)
	if i := strings.IndexAny(raw, "/?#"); i >= 0 {
		end = i
	}
	head, tail := raw[:end], nested.ReplaceAllString(beforeQuery(raw[end:]), "/")
	if strings.Contains(tail, "://") || strings.HasSuffix(head, ":") && strings.HasPrefix(tail, "//") {
		return ""
	}
	if m := scp.FindStringSubmatch(head); m != nil {
		if m[1] != "" {
			return m[1] + "@" + m[2] + tail
		}
		if strings.Contains(tail+raw[end:], "@") { // a password with a slash, or a path: nobody can tell
			return ""
		}
		return head + tail
	}
	return head[strings.LastIndexByte(head, '@')+1:] + tail
}

// stripAuthority is for what follows the slashes, [USER[:PASSWORD]@]HOST[:PORT]/PATH.
func stripAuthority(rest string, keepUser bool) string {
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	at := strings.LastIndexByte(rest[:end], '@')
	host := rest[at+1 : end]
	if !address.MatchString(host) {
		return "" // a password with a slash, say: what looks like the host is part of it
	}
	if user, _, _ := strings.Cut(rest[:max(at, 0)], ":"); keepUser && user != "" {
		host = user + "@" + host
	}
	return host + nested.ReplaceAllString(beforeQuery(rest[end:]), "/")
}

func beforeQuery(s string) string {
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		return s[:i]
	}
	return s
}
