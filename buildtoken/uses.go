package buildtoken

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// TokenUse is a token of the configuration, and how it was used since the process started.
type TokenUse struct {
	// Place is where the token is defined: the full name of a job, that of a folder with a
	// slash behind it, or "" for the top level.
	Place string
	// Token has the token's name, grants and expiry, without its digest.
	Token token.Token
	// Uses counts requests with the token; After counts those that were refused because
	// it had expired, or because the last reload had removed it.
	Uses, After uint64
	// First and Last are the times of the first and the last use, After included.
	First, Last time.Time
	// From are the last addresses, at most five, newest first.
	From []netip.Addr
	// Removed reports whether the configuration does not have the token any more.
	Removed bool
}

const (
	maxFrom  = 5
	maxUses  = 100_000 // tokens; reloads can bring ever new ones
	warnEach = time.Minute
)

type usedToken struct{ place, name string }

// uses counts how tokens are used.
type uses struct {
	// mu guards the following.
	mu     sync.Mutex
	tokens map[usedToken]*use
}

type use struct {
	TokenUse
	warned time.Time // zero if never
}

// add counts a use, and reports whether to warn of it.
func (u *uses) add(now time.Time, place string, t token.Token, from netip.Addr, dead bool) (warn bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := usedToken{place, t.Name}
	one := u.tokens[key]
	if one == nil {
		if len(u.tokens) >= maxUses {
			return false
		}
		if u.tokens == nil {
			u.tokens = map[usedToken]*use{}
		}
		one = &use{TokenUse: TokenUse{Place: place, Token: token.Token{Name: t.Name, Expires: t.Expires, Grants: t.Grants}, First: now}}
		u.tokens[key] = one
	}
	one.Last = now
	if from = from.Unmap(); from.IsValid() && (len(one.From) == 0 || one.From[0] != from) {
		one.From = slices.DeleteFunc(one.From, func(a netip.Addr) bool { return a == from })
		one.From = slices.Insert(one.From, 0, from)
		one.From = one.From[:min(len(one.From), maxFrom)]
	}
	if !dead {
		one.Uses++
		return false
	}
	one.After++
	if !one.warned.IsZero() && now.Sub(one.warned) < warnEach {
		return false
	}
	one.warned = now
	return true
}

// countUse counts that a token of the job was shown, if err does not say that it was wrong.
func (c *Controller) countUse(now time.Time, j *definition.Compiled, t token.Token, by definition.Caller, err error) {
	if t.Name == "" {
		return // a wrong token, or a caller without one
	}
	removed := errors.Is(err, token.ErrMismatch)
	dead := removed || errors.Is(err, token.ErrExpired)
	place := j.Place(t)
	if c.uses.add(now, place, t, by.Remote, dead) {
		what := "a token that has expired is still shown"
		if removed {
			what = "a token that the last reload removed is still shown"
		}
		c.logger().Warn(what, zap.String("token", t.Name), zap.String("place", place),
			zap.Time("expired", t.Expires), zap.String("job", j.FullName), zap.String("remote", by.RemoteText()))
	}
}

// Tokens returns the tokens of the newest configuration, and those of earlier ones that were
// used since the process started, by place and name.
func (c *Controller) Tokens() []TokenUse {
	all := map[usedToken]*TokenUse{}
	for _, j := range c.effective.Load().jobs {
		for t := range j.Tokens.All() {
			place := j.Place(t)
			t.Digest, t.Level = token.Digest{}, 0
			all[usedToken{place, t.Name}] = &TokenUse{Place: place, Token: t}
		}
	}
	c.uses.mu.Lock()
	for key, used := range c.uses.tokens {
		one := used.TokenUse
		one.From = slices.Clone(one.From)
		if defined := all[key]; defined != nil {
			one.Token = defined.Token
		} else {
			one.Removed = true
		}
		all[key] = &one
	}
	c.uses.mu.Unlock()
	list := make([]TokenUse, 0, len(all))
	for _, one := range all {
		list = append(list, *one)
	}
	slices.SortFunc(list, func(a, b TokenUse) int {
		return cmp.Or(cmp.Compare(a.Place, b.Place), cmp.Compare(a.Token.Name, b.Token.Name))
	})
	return list
}
