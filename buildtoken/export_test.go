package buildtoken

import (
	"net/netip"
	"time"
)

// What tests outside of the package need to see of it.

// WrongTokens counts wrong tokens at instants that a test gives: the clock of a
// bubble does not go back.
type WrongTokens struct {
	Throttle Throttle
	counts   *wrongTokens
}

// CountWrongTokens begins to count.
func CountWrongTokens(t Throttle) WrongTokens { return WrongTokens{t.withDefaults(), newWrongTokens()} }

// Add counts a wrong token for job "app".
func (w WrongTokens) Add(now time.Time, client netip.Addr) {
	w.counts.add(now, w.Throttle, client, "app")
}

// Wait is how long the client has to wait at job "app".
func (w WrongTokens) Wait(now time.Time, client netip.Addr) time.Duration {
	return w.counts.wait(now, w.Throttle, client, "app")
}
