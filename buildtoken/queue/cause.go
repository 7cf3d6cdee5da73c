package queue

import (
	"cmp"
	"fmt"
	"slices"
)

// MaxCauses is the maximum number of different causes of an item. Without it, a busy
// trigger whose causes all differ would grow one item without bound; further ones are
// counted in [Item.MoreCauses].
const MaxCauses = 50

// CauseKind is the kind of a [Cause].
type CauseKind string

// The kinds of causes.
const (
	CauseRemote CauseKind = "remote" // a trigger with a token: Addr, Note, Token
	CauseUser   CauseKind = "user"   // a user who may build: User, Note
	CauseSCM    CauseKind = "scm"    // polling found changes
	CauseTimer  CauseKind = "timer"  // a schedule was due
	// CauseWebhook is a delivery whose signature was verified: Webhook, Note.
	CauseWebhook CauseKind = "webhook"
)

// Cause is a reason why an item was queued. Two causes are the same if all fields
// except Count are equal.
type Cause struct {
	Kind CauseKind `json:"kind"`
	// Addr is the address of the client, without a port.
	Addr string `json:"addr,omitempty"`
	// Note is the client's `cause` text; Noted distinguishes an empty text from none.
	Note  string `json:"note,omitempty"`
	Noted bool   `json:"noted,omitempty"`
	// User is the authenticated user, Token the name (never the secret) of the token.
	User  string `json:"user,omitempty"`
	Token string `json:"token,omitempty"`
	// Webhook is the name of the webhook that delivered.
	Webhook string `json:"webhook,omitempty"`
	// Count is the number of triggers with this cause, at least 1.
	Count int `json:"count"`
}

// String returns the sentence that Jenkins shows for such a cause (shortDescription).
func (c Cause) String() string {
	var text string
	switch c.Kind {
	case CauseUser:
		text = "Started by user " + c.User
	case CauseSCM:
		return "Started by an SCM change"
	case CauseTimer:
		return "Started by timer"
	case CauseRemote:
		text = "Started by remote host " + cmp.Or(c.Addr, "(no address)") // as on a Unix socket
	case CauseWebhook:
		text = "Started by webhook " + c.Webhook
	default:
		return fmt.Sprintf("Started by %s", c.Kind)
	}
	if c.Noted {
		text += " with note: " + c.Note
	}
	return text
}

func (c Cause) same(other Cause) bool {
	c.Count, other.Count = 0, 0
	return c == other
}

// MaxJoined is how many trace contexts of joined triggers an item keeps.
const MaxJoined = 16

// link adds the trace context of a trigger that joins an item. It replaces the slice, so copies
// of the item do not change.
func link(it *Item, trace string) {
	if trace == "" || trace == it.Trace || len(it.Joined) >= MaxJoined || slices.Contains(it.Joined, trace) {
		return
	}
	it.Joined = append(it.Joined[:len(it.Joined):len(it.Joined)], trace)
}

// fold adds a cause to an item and reports whether that is a new fact, not just
// a higher count. It replaces the slice, so copies of the item do not change.
func fold(it *Item, c Cause) (isNew bool) {
	causes := slices.Clone(it.Causes)
	for i := range causes {
		if causes[i].same(c) {
			causes[i].Count++
			it.Causes = causes
			return false
		}
	}
	if len(causes) >= MaxCauses {
		it.MoreCauses++
		return false
	}
	c.Count = 1
	it.Causes = append(causes, c)
	return true
}

// Triggers returns the number of triggers that created or joined the item.
func (it Item) Triggers() int {
	n := it.MoreCauses
	for _, c := range it.Causes {
		n += c.Count
	}
	return n
}
