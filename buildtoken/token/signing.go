package token

import (
	"crypto/hmac"
	"fmt"
	"hash"
)

// SigningSecret is the key with which a sender signs what it sends. Unlike the
// text of a [Secret], it is needed in clear as long as the configuration is in
// force. It can make a MAC and nothing else: like a Secret, it prints as
// [redacted]. The zero value has no key. A SigningSecret is immutable and safe
// for concurrent use.
type SigningSecret struct {
	// A function shows nothing of what it holds, not even to a program that
	// follows pointers by reflection.
	mac func(newHash func() hash.Hash) hash.Hash
}

// NewSigningSecret returns the secret that has this key. The empty key gives the
// zero value.
func NewSigningSecret(key string) SigningSecret {
	if key == "" {
		return SigningSecret{}
	}
	return SigningSecret{mac: func(newHash func() hash.Hash) hash.Hash { return hmac.New(newHash, []byte(key)) }}
}

// IsZero reports whether there is no key.
func (s SigningSecret) IsZero() bool { return s.mac == nil }

// MAC returns a new HMAC with this key. It panics for the zero value, because a
// signature without a key proves nothing.
func (s SigningSecret) MAC(newHash func() hash.Hash) hash.Hash {
	return s.mac(newHash) // nil for the zero value
}

// String returns [redacted], also for the zero value.
func (s SigningSecret) String() string { return redacted }

// GoString returns [redacted].
func (s SigningSecret) GoString() string { return redacted }

// Format writes [redacted], whatever the verb and its flags are.
func (s SigningSecret) Format(f fmt.State, _ rune) {
	_, _ = f.Write([]byte(redacted)) // as in Secret.Format
}

// MarshalText returns [redacted].
func (s SigningSecret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns [redacted] as a JSON string.
func (s SigningSecret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
