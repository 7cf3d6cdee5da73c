// Package deliveries keeps what happened to the last webhook deliveries, for pages, the
// command line and metrics. All is in memory; a restart forgets it.
//
// A [Delivery] that was not verified has no headers and no body, because an
// attacker would choose them, and only [KeepUnverified] of those are kept, so that they
// cannot displace the others. Headers that carry secrets are never kept.
package deliveries

import (
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/event"
)

// Limits of a [Log].
const (
	Keep           = 200      // deliveries
	KeepUnverified = Keep / 4 // of them that no webhook verified
	MaxBytes       = 1 << 20  // of all bodies together
)

// Delivery is one delivery and what became of it.
type Delivery struct {
	// ID numbers the deliveries since the start, from 1.
	ID int64     `json:"id"`
	At time.Time `json:"at"`
	// Target is the job or folder in the URL; "" is the top.
	Target string `json:"target"`
	Remote string `json:"remote,omitempty"`
	// Webhooks are the names of those that verified it.
	Webhooks []string `json:"webhooks,omitempty"`
	// Signers are the identities of the secrets of those that verified it, or, if none did, of
	// those that could have. Sites of one process share a [Log]; by these, a site finds what
	// was sent to it.
	Signers [][32]byte `json:"-"`
	Kind    event.Kind `json:"kind,omitempty"`
	// Events are summaries such as "push to main of shop/api by octavia".
	Events []string `json:"events,omitempty"`
	// Sender is the ID that the sender gave the delivery.
	Sender string `json:"delivery,omitempty"`
	Size   int64  `json:"size"` // of the body, in bytes
	Status int    `json:"status"`
	// Outcome is one word, which is the label of the metric.
	Outcome string `json:"outcome"`
	// Reason is why the delivery as a whole was refused.
	Reason string `json:"reason,omitempty"`
	Jobs   []Job  `json:"jobs,omitempty"`
	// Header is without secrets. Body is nil if it was too large, or old.
	Header event.Header `json:"header,omitempty"`
	Body   []byte       `json:"-"`
	// Concealed means that Body has a secret, and is kept for replays only.
	Concealed bool `json:"concealed,omitempty"`
	// Replays is the ID of the delivery that a user replayed, By that user.
	Replays int64  `json:"replays,omitempty"`
	By      string `json:"by,omitempty"`
}

// Job is what became of one event for one job.
type Job struct {
	Job     string `json:"job"`
	Outcome string `json:"outcome"`
	Item    int64  `json:"item,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Steps   []Step `json:"steps,omitempty"`
}

// Step is a check and what it found.
type Step struct {
	Check string `json:"check"`
	Found string `json:"found"`
}

// Count is the number of deliveries of a webhook with an outcome since the start.
type Count struct {
	Webhook, Outcome string
	N                uint64
}

// Log keeps the last deliveries. Its zero value is ready, and safe for concurrent use.
type Log struct {
	// mu guards the following.
	mu     sync.Mutex
	last   int64
	kept   []Delivery // oldest first
	bytes  int        // of the bodies
	counts map[[2]string]uint64
}

// Add records a delivery and returns its ID. webhook is the label of the metric. Add
// keeps d, which the caller must not change any more.
func (l *Log) Add(d Delivery, webhook string) int64 {
	d.Header = withoutSecrets(d.Header)
	if len(d.Body) > MaxBytes {
		d.Body = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts == nil {
		l.counts = map[[2]string]uint64{}
	}
	l.counts[[2]string{webhook, d.Outcome}]++
	l.last++
	d.ID = l.last
	if len(d.Webhooks) == 0 && l.unverified() >= KeepUnverified {
		l.remove(slices.IndexFunc(l.kept, func(d Delivery) bool { return len(d.Webhooks) == 0 }))
	} else if len(l.kept) == Keep {
		l.remove(0)
	}
	l.kept = append(l.kept, d)
	l.bytes += len(d.Body)
	for i := 0; l.bytes > MaxBytes; i++ {
		l.bytes -= len(l.kept[i].Body)
		l.kept[i].Body = nil
	}
	return d.ID
}

// unverified counts the deliveries that no webhook verified. The caller must hold mu.
func (l *Log) unverified() int {
	n := 0
	for i := range l.kept {
		if len(l.kept[i].Webhooks) == 0 {
			n++
		}
	}
	return n
}

// remove drops the delivery at an index. The caller must hold mu.
func (l *Log) remove(at int) {
	l.bytes -= len(l.kept[at].Body)
	if at == 0 { // nearly always; the others need not move
		l.kept[0] = Delivery{}
		l.kept = l.kept[1:]
		return
	}
	l.kept = slices.Delete(l.kept, at, at+1)
}

// List returns the deliveries, newest first. The caller must not change what they refer to.
func (l *Log) List() []Delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Clone(l.kept)
	slices.Reverse(all)
	return all
}

// Find returns a delivery by its ID.
func (l *Log) Find(id int64) (Delivery, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := slices.IndexFunc(l.kept, func(d Delivery) bool { return d.ID == id })
	if at < 0 {
		return Delivery{}, false
	}
	return l.kept[at], true
}

// Counts returns the counters, sorted.
func (l *Log) Counts() []Count {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Count, 0, len(l.counts))
	for key, n := range l.counts {
		all = append(all, Count{key[0], key[1], n})
	}
	slices.SortFunc(all, func(a, b Count) int {
		return strings.Compare(a.Webhook+"\x00"+a.Outcome, b.Webhook+"\x00"+b.Outcome)
	})
	return all
}

// maxHeader is the length of the longest value that is kept of a header, in bytes.
const maxHeader = 1000

// withoutSecrets returns the headers that are safe to show: what names and describes
// the delivery. An unknown header may carry a secret, so only known ones are kept.
func withoutSecrets(h event.Header) event.Header {
	if h == nil {
		return nil
	}
	kept := event.Header{}
	for name, values := range h {
		if len(values) == 0 || !safe(name) {
			continue
		}
		kept[name] = []string{values[0][:min(len(values[0]), maxHeader)]}
	}
	return kept
}

// safe reports whether a header of this canonical name is shown.
func safe(name string) bool {
	switch name {
	case "Content-Type", "Content-Length", "User-Agent", "Accept", "Idempotency-Key", "X-Event-Key", "X-Attempt-Number",
		"X-Request-Id", "X-Request-Uuid", "X-Hook-Uuid", "Webhook-Id", "Webhook-Timestamp", "X-Slack-Request-Timestamp":
		return true
	}
	for _, prefix := range []string{"X-Github-", "X-Gitlab-", "X-Gitea-", "X-Forgejo-", "X-Gogs-", "Ce-"} {
		if strings.HasPrefix(name, prefix) {
			return !strings.HasSuffix(name, "-Token") && !strings.HasSuffix(name, "-Signature")
		}
	}
	return false
}

// HeaderNames returns the names of the headers, sorted.
func (d *Delivery) HeaderNames() []string {
	names := make([]string, 0, len(d.Header))
	for name := range d.Header {
		names = append(names, textproto.CanonicalMIMEHeaderKey(name))
	}
	slices.Sort(names)
	return names
}
