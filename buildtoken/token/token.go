package token

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ErrBadName says that a text cannot be the name of a token.
var ErrBadName = errors.New("token: bad name")

const maxName = 200 // bytes

// Token says what one secret opens. Nothing in it is secret.
type Token struct {
	// Name is what logs, causes and rules call the token. It is not part of the secret.
	Name string
	// Digest is that of the secret.
	Digest Digest
	// Expires is the first instant at which the token opens nothing any more. Zero: never.
	Expires time.Time
	// Grants is what the holder may do. Zero: nothing.
	Grants Grant
	// Level is where the token is defined, seen from the job: 0 is the job
	// itself, 1 its folder, and so on. Names are unique within a level only.
	Level int
}

// Expired says whether the token opens nothing any more at the instant now.
func (t Token) Expired(now time.Time) bool {
	return !t.Expires.IsZero() && !now.Before(t.Expires)
}

// CheckName says whether a token may have this name: valid UTF-8 without
// control characters and slashes, at most 200 bytes. A name that starts like a
// digest is refused too: it is a secret in the wrong place, and names are
// logged. The error is [ErrBadName] and, for that reason, does not quote the name.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrBadName)
	case len(name) > maxName:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrBadName, len(name), maxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: it is not valid UTF-8", ErrBadName)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%w: it holds a control character", ErrBadName)
	case strings.Contains(name, "/"):
		return fmt.Errorf("%w: it holds a slash", ErrBadName)
	case hasScheme(name):
		return fmt.Errorf("%w: it starts with %s, as a secret does", ErrBadName, scheme)
	}
	return nil
}
