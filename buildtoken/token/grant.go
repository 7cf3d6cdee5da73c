package token

import (
	"errors"
	"fmt"
	"strings"
)

// ErrGrant is returned for an unknown grant.
var ErrGrant = errors.New("token: unknown grant")

// Grant is the set of things that the holder of a token can do with a job. The
// zero value grants nothing.
type Grant uint8

// The grants.
const (
	Trigger Grant = 1 << iota // request builds and polls
	Status                    // read the state of an item and its build
	Log                       // read and follow the console log
	Cancel                    // take an item out of the queue, stop its build
	Share                     // receive a signed address that shows one build to anyone
)

// Any is a requirement that every token meets.
const Any Grant = 0

// ParseGrants returns the grants with these names. No names mean trigger. An
// unknown name is [ErrGrant]; a repeated one counts once.
func ParseGrants(names []string) (Grant, error) {
	if len(names) == 0 {
		return Trigger, nil
	}
	var all Grant
	for _, name := range names {
		switch name {
		case "trigger":
			all |= Trigger
		case "status":
			all |= Status
		case "log":
			all |= Log
		case "cancel":
			all |= Cancel
		case "share":
			all |= Share
		default:
			return 0, fmt.Errorf("%w %q: want trigger, status, log, cancel or share", ErrGrant, name)
		}
	}
	return all, nil
}

// Has reports whether g includes all grants of asked.
func (g Grant) Has(asked Grant) bool { return g&asked == asked }

// String returns the names of the grants, separated by spaces, as in a configuration.
func (g Grant) String() string {
	var names []string
	for _, one := range []struct {
		grant Grant
		name  string
	}{{Trigger, "trigger"}, {Status, "status"}, {Log, "log"}, {Cancel, "cancel"}, {Share, "share"}} {
		if g.Has(one.grant) {
			names = append(names, one.name)
		}
	}
	return strings.Join(names, " ")
}
