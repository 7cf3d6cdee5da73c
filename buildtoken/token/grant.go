package token

import (
	"errors"
	"fmt"
	"strings"
)

// ErrGrant says that a grant is none of trigger, status, log and cancel.
var ErrGrant = errors.New("token: unknown grant")

// Grant is a set of things that a token lets its holder do with a job. The
// zero value grants nothing.
type Grant uint8

// The grants.
const (
	Trigger Grant = 1 << iota // request builds, and polling
	Status                    // see how an item and its build are doing
	Log                       // read and follow the console log
	Cancel                    // take an item out of the queue, stop its build
)

// ParseGrants reads the names of grants: trigger, status, log, cancel. None at
// all means trigger. A name that is none of them is [ErrGrant]; a repeated one
// counts once.
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
		default:
			return 0, fmt.Errorf("%w %q: want trigger, status, log or cancel", ErrGrant, name)
		}
	}
	return all, nil
}

// Has says whether g grants all of what is asked.
func (g Grant) Has(asked Grant) bool { return g&asked == asked }

// String names what is granted, separated by spaces, as the configuration has it.
func (g Grant) String() string {
	var names []string
	for _, one := range []struct {
		grant Grant
		name  string
	}{{Trigger, "trigger"}, {Status, "status"}, {Log, "log"}, {Cancel, "cancel"}} {
		if g.Has(one.grant) {
			names = append(names, one.name)
		}
	}
	return strings.Join(names, " ")
}
