package token

import (
	"crypto/sha256"
	"fmt"
)

const redacted = "[redacted]"

// Secret is the text of a token as a caller presented it. The text is digested
// at once and not kept, so nothing that prints, encodes or dumps a Secret can
// show it. The zero value means that nothing was presented. A Secret is
// immutable; copies are cheap and may be used at the same time.
type Secret struct {
	// The bytes of the digest; that of a weak token would already be too much to
	// show. fmt prints an unexported field of somebody else's struct without
	// asking our methods. Of a pointer it shows the address then, unless a verb
	// does not fit (%s) and the pointer is one to an array or a struct: so this is
	// a pointer to a string.
	digest *string
}

// NewSecret takes the text of a token. The empty text gives the zero value.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	sum := sha256.Sum256([]byte(text))
	digest := string(sum[:])
	return Secret{digest: &digest}
}

// IsZero says whether nothing was presented.
func (s Secret) IsZero() bool { return s.digest == nil }

// Digest is the SHA-256 of the text; of the zero value, that of the empty text.
func (s Secret) Digest() Digest {
	if s.digest == nil {
		return digestOfNothing()
	}
	return Digest([]byte(*s.digest))
}

// String gives [redacted], also for the zero value.
func (s Secret) String() string { return redacted }

// GoString gives [redacted].
func (s Secret) GoString() string { return redacted }

// Format writes [redacted], whatever the verb and its flags are.
func (s Secret) Format(f fmt.State, _ rune) {
	// An error is the writer's, and fmt has no way to take it from here.
	_, _ = f.Write([]byte(redacted))
}

// MarshalText gives [redacted], so encoders of text, JSON, YAML and of log
// records have nothing else to show.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON gives [redacted] as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
