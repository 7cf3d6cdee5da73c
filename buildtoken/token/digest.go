package token

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Errors of a configured secret. None carries any of the text.
var (
	// ErrEmpty is returned for an empty secret, and for the digest of the empty text.
	ErrEmpty = errors.New("token: empty secret")
	// ErrPadded is returned for a configured secret that begins or ends with white
	// space or a byte order mark, which no client would send.
	ErrPadded = errors.New("token: the secret begins or ends with white space or a byte order mark")
	// ErrDigest is returned for a text that is not sha256: with 64 hexadecimal digits.
	ErrDigest = errors.New("token: malformed digest")
)

const scheme = "sha256:"

// Digest is the SHA-256 sum of a token. It is comparable, but a digest from
// outside must be compared with [Set.Check], which takes constant time.
type Digest [sha256.Size]byte

// String returns sha256: and 64 lower-case hexadecimal digits.
func (d Digest) String() string { return scheme + hex.EncodeToString(d[:]) }

// MarshalText returns the result of String.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is the inverse of MarshalText; see [ParseDigest].
func (d *Digest) UnmarshalText(text []byte) error {
	parsed, err := ParseDigest(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// ParseDigest parses sha256: and 64 hexadecimal digits, in any case, without
// white space around them. Anything else is [ErrDigest].
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if !hasScheme(s) {
		return d, fmt.Errorf("%w: it does not start with %s", ErrDigest, scheme)
	}
	digits := s[len(scheme):]
	if len(digits) != hex.EncodedLen(len(d)) {
		return d, fmt.Errorf("%w: %d characters after %s, want %d", ErrDigest, len(digits), scheme, hex.EncodedLen(len(d)))
	}
	// The error of package hex quotes the invalid character, which can be part of a secret.
	if _, err := hex.Decode(d[:], []byte(digits)); err != nil {
		return Digest{}, fmt.Errorf("%w: a character that is not a hexadecimal digit", ErrDigest)
	}
	return d, nil
}

// CheckSecret returns an error for a configured text that cannot be a secret, after its
// placeholders were replaced. With white space or a byte order mark around it, it is
// [ErrPadded]: it comes from a file with two line ends, or from an editor that adds such a
// mark, and no client would show it. If there is nothing else, it is [ErrEmpty]: a
// placeholder that resolves to nothing must not open a job. The error never shows the text.
func CheckSecret(text string) error {
	const byteOrderMark = "\uFEFF"
	trimmed := strings.TrimSpace(text)
	switch bare := strings.Trim(trimmed, byteOrderMark); {
	case bare == "":
		return ErrEmpty
	case bare != text:
		return ErrPadded
	}
	return nil
}

// ParseSecret returns the digest of a configured secret that [CheckSecret] accepts. The
// secret is a digest (see [ParseDigest]) or the token itself. What begins like a digest
// and is none is [ErrDigest]: its author meant a digest, and as a token it would be
// readable in the configuration. The digest of the empty text is [ErrEmpty].
func ParseSecret(text string) (Digest, error) {
	if err := CheckSecret(text); err != nil {
		return Digest{}, err
	}
	if !hasScheme(text) {
		return NewSecret(text).Digest(), nil
	}
	d, err := ParseDigest(text)
	if err != nil {
		return Digest{}, err
	}
	if d == digestOfNothing() {
		return Digest{}, ErrEmpty
	}
	return d, nil
}

func hasScheme(s string) bool {
	return len(s) >= len(scheme) && strings.EqualFold(s[:len(scheme)], scheme)
}

func digestOfNothing() Digest { return sha256.Sum256(nil) }
