package token

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Errors of [NewSet] and [Set.Check].
var (
	// ErrDuplicate says that two tokens of one level have the same name.
	ErrDuplicate = errors.New("token: duplicate name")
	// ErrMissing says that no secret was presented.
	ErrMissing = errors.New("token: missing")
	// ErrMismatch says that the secret is that of no token.
	ErrMismatch = errors.New("token: mismatch")
	// ErrExpired says that the secret is right, and that its token has expired.
	ErrExpired = errors.New("token: expired")
)

// Set holds the tokens that open one job. The zero value opens nothing. A Set
// is immutable and may be used from many goroutines at the same time.
type Set struct{ tokens []Token }

// NewSet makes a set of tokens, the nearest level first. It copies the slice.
// It refuses a name that [CheckName] refuses, two tokens of the same level and
// name ([ErrDuplicate]), and a token that has no digest or that of the empty
// text ([ErrEmpty]).
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

// Len is how many tokens there are, expired ones included.
func (s Set) Len() int { return len(s.tokens) }

// Check gives the token whose secret was presented. If several tokens have the
// same secret, it is the first that has not expired.
//
// The digest of what was presented is compared with that of every token, each
// in constant time and without an early end, so the time it takes tells how
// many tokens there are and nothing about them. An empty set compares once, with
// nothing, so an unknown job takes as long as a known one with a single token.
//
// The errors are [ErrMissing] if nothing was presented, [ErrExpired] if only
// expired tokens have that secret (nobody else learns that they exist), and
// else [ErrMismatch]. Check does not look at [Token.Grants].
func (s Set) Check(now time.Time, presented Secret) (Token, error) {
	candidates := s.tokens
	if len(candidates) == 0 {
		candidates = []Token{{}}
	}
	digest := presented.Digest()
	valid, expired := -1, 0
	// Outward in, so that the nearest is what remains.
	for i := len(candidates) - 1; i >= 0; i-- {
		t := &candidates[i]
		same, old := subtle.ConstantTimeCompare(digest[:], t.Digest[:]), 0
		if t.Expired(now) {
			old = 1
		}
		valid = subtle.ConstantTimeSelect(same&^old, i, valid)
		expired |= same & old
	}
	switch {
	case presented.IsZero():
		return Token{}, ErrMissing
	case valid >= 0 && len(s.tokens) > 0:
		return s.tokens[valid], nil
	case expired == 1:
		return Token{}, ErrExpired
	default:
		return Token{}, ErrMismatch
	}
}
