package queue

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// KeepTokenUses is how long a queue keeps the use of a token after the last one.
const KeepTokenUses = 365 * 24 * time.Hour

// maxFrom is how many addresses a [TokenUse] has.
const maxFrom = 5

// TokenUse counts the uses of a token on one server.
type TokenUse struct {
	// Place is where the token is defined: the full name of a job, the full name of a folder
	// and a slash, or "" for the top level. Name is the name of the token.
	Place string `json:"place"`
	Name  string `json:"name"`
	// Uses counts requests with the token; Dead counts those that were refused because it
	// had expired, or because the last reload had removed it.
	Uses uint64 `json:"uses"`
	Dead uint64 `json:"dead,omitempty"`
	// First and Last are the times of the first and the last use, dead ones included.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// From are the last addresses, at most five, newest first.
	From []netip.Addr `json:"from,omitempty"`
	// Elsewhere reports whether another server counted it.
	Elsewhere bool `json:"-"`
}

// Count adds one use from an address, which may be unknown.
func (u *TokenUse) Count(now time.Time, from netip.Addr, dead bool) {
	if u.First.IsZero() {
		u.First = now
	}
	u.Last = now
	if dead {
		u.Dead++
	} else {
		u.Uses++
	}
	u.from(from.Unmap())
}

// from puts an address in front.
func (u *TokenUse) from(addr netip.Addr) {
	if !addr.IsValid() || len(u.From) > 0 && u.From[0] == addr {
		return
	}
	u.From = slices.DeleteFunc(slices.Clone(u.From), func(a netip.Addr) bool { return a == addr })
	u.From = slices.Insert(u.From, 0, addr)
	u.From = u.From[:min(len(u.From), maxFrom)]
}

// Add adds what another server has counted.
func (u *TokenUse) Add(o TokenUse) {
	older := o
	if o.Last.After(u.Last) {
		older, u.From = *u, slices.Clone(o.From)
		u.Last = o.Last
	}
	for _, addr := range older.From {
		if len(u.From) < maxFrom && !slices.Contains(u.From, addr) {
			u.From = append(u.From[:len(u.From):len(u.From)], addr)
		}
	}
	if u.First.IsZero() || !o.First.IsZero() && o.First.Before(u.First) {
		u.First = o.First
	}
	u.Uses += o.Uses
	u.Dead += o.Dead
}

// CompareTokenUses orders uses by place and name.
func CompareTokenUses(a, b TokenUse) int {
	return cmp.Or(cmp.Compare(a.Place, b.Place), cmp.Compare(a.Name, b.Name))
}
