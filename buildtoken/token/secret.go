package token

import (
	"crypto/sha256"
	"fmt"
)

const redacted = "[redacted]"

// Secret is the token that a caller presented. Only its digest is kept, so
// printing, encoding or dumping a Secret cannot reveal it. The zero value means
// that no token was presented. A Secret is immutable, cheap to copy, and safe
// for concurrent use.
type Secret struct {
	// The bytes of the digest. Even the digest of a weak token must not be shown.
	// If another struct has a Secret in an unexported field, fmt prints it without
	// calling our methods. It prints the address of a pointer then, unless the verb
	// does not fit (%s) and the pointer points to an array or a struct. So this is
	// a pointer to a string.
	digest *string
}

// NewSecret returns the Secret of a token. The empty text has the zero value.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	sum := sha256.Sum256([]byte(text))
	digest := string(sum[:])
	return Secret{digest: &digest}
}

// SecretOf returns the Secret of a token of which only the digest is known, to find out what
// a caller with that token could do. A digest from outside must not come here.
func SecretOf(d Digest) Secret {
	digest := string(d[:])
	return Secret{digest: &digest}
}

// IsZero reports whether no token was presented.
func (s Secret) IsZero() bool { return s.digest == nil }

// Digest returns the SHA-256 sum of the token; for the zero value, that of the empty text.
func (s Secret) Digest() Digest {
	if s.digest == nil {
		return digestOfNothing()
	}
	return Digest([]byte(*s.digest))
}

// String returns [redacted], also for the zero value.
func (s Secret) String() string { return redacted }

// GoString returns [redacted].
func (s Secret) GoString() string { return redacted }

// Format writes [redacted] for all verbs and flags.
func (s Secret) Format(f fmt.State, _ rune) {
	// fmt.Formatter has no way to return an error.
	_, _ = f.Write([]byte(redacted))
}

// MarshalText returns [redacted], for encoders of text, JSON, YAML and log
// records.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns [redacted] as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
