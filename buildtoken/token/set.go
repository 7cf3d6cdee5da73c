package token

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// Errors of [NewSet] and [Set.Check].
var (
	// ErrDuplicate is returned for two tokens of one level with the same name.
	ErrDuplicate = errors.New("token: duplicate name")
	// ErrMissing is returned if no secret was presented.
	ErrMissing = errors.New("token: missing")
	// ErrMismatch is returned if no token has the secret.
	ErrMismatch = errors.New("token: mismatch")
	// ErrExpired is returned if only expired tokens have the secret.
	ErrExpired = errors.New("token: expired")
)

// Set holds the tokens that open one job. The zero value opens nothing. A Set
// is immutable and safe for concurrent use.
type Set struct{ tokens []Token }

// NewSet returns a set of tokens, which must be ordered by level, the nearest
// first. It copies the slice. The errors are those of [CheckName], [ErrDuplicate]
// for two tokens with the same level and name, and [ErrEmpty] for a token without
// a digest or with that of the empty text.
func NewSet(tokens []Token) (Set, error) {
	type place struct {
		level int
		name  string
	}
	seen := make(map[place]bool, len(tokens))
	for _, t := range tokens {
		if err := CheckName(t.Name); err != nil {
			return Set{}, err
		}
		if t.Digest == (Digest{}) || t.Digest == digestOfNothing() {
			return Set{}, fmt.Errorf("%w: token %q", ErrEmpty, t.Name)
		}
		at := place{t.Level, t.Name}
		if seen[at] {
			return Set{}, fmt.Errorf("%w %q", ErrDuplicate, t.Name)
		}
		seen[at] = true
	}
	return Set{tokens: slices.Clone(tokens)}, nil
}

// Len returns the number of tokens, expired ones included.
func (s Set) Len() int { return len(s.tokens) }

// All returns the tokens, the nearest level first.
func (s Set) All() iter.Seq[Token] { return slices.Values(s.tokens) }

// Check returns the token with the presented secret. If several tokens have the
// same secret, it returns the first that has not expired.
//
// The digest of the presented secret is compared with that of every token, each
// in constant time and without an early exit. The time reveals how many tokens
// there are, and nothing else. An empty set compares once, with an empty digest,
// so an unknown job takes as long as one with a single token.
//
// The errors are [ErrMissing] if no secret was presented, [ErrExpired] if only
// expired tokens have it, and otherwise [ErrMismatch]. With ErrExpired, it returns
// the nearest of these, without digest and grants. Check ignores [Token.Grants].
func (s Set) Check(now time.Time, presented Secret) (Token, error) {
	candidates := s.tokens
	if len(candidates) == 0 {
		candidates = []Token{{}}
	}
	digest := presented.Digest()
	valid, expired := -1, -1
	// From the outermost level inwards, so that the nearest token remains.
	for i := len(candidates) - 1; i >= 0; i-- {
		t := &candidates[i]
		same, old := subtle.ConstantTimeCompare(digest[:], t.Digest[:]), 0
		if t.Expired(now) {
			old = 1
		}
		valid = subtle.ConstantTimeSelect(same&^old, i, valid)
		expired = subtle.ConstantTimeSelect(same&old, i, expired)
	}
	switch {
	case presented.IsZero():
		return Token{}, ErrMissing
	case valid >= 0:
		return candidates[valid], nil
	case expired >= 0:
		t := candidates[expired]
		return Token{Name: t.Name, Expires: t.Expires, Level: t.Level}, ErrExpired
	default:
		return Token{}, ErrMismatch
	}
}
