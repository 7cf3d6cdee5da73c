package token

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ErrBadName is returned for a text that cannot be the name of a token.
var ErrBadName = errors.New("token: bad name")

const maxName = 200 // bytes

// Token describes what one secret opens. It contains nothing secret.
type Token struct {
	// Name identifies the token in logs, causes and rules. It is not secret.
	Name string
	// Digest is the digest of the secret.
	Digest Digest
	// Expires is the instant from which the token opens nothing. The zero value means never.
	Expires time.Time
	// Grants is what the holder can do. Zero means nothing.
	Grants Grant
	// Level is where the token is defined, seen from the job: 0 is the job
	// itself, 1 its folder, and so on. Names are unique within a level only.
	Level int
}

// Expired reports whether the token has expired at the instant now.
func (t Token) Expired(now time.Time) bool {
	return !t.Expires.IsZero() && !now.Before(t.Expires)
}

// CheckName returns [ErrBadName] unless the name is valid UTF-8 of 1 to 200
// bytes without control characters and slashes. It also refuses a name that
// begins like a digest: that is a secret in the wrong place, and names are
// logged. For the same reason the error does not quote the name.
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
