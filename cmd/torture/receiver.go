package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
)

// receiverSecret is the secret with which notifications are signed.
const receiverSecret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX" //nolint:gosec // used only here

// receiver accepts notifications, or fails in one of several ways.
type receiver struct {
	server    *httptest.Server
	verify    *hook.Webhook
	reference *reference // nil: signatures are not verified with it
	wrong     func(format string, args ...any)

	// mu guards the following.
	mu       sync.Mutex
	faults   int // how many of 100 requests fail
	hangs    bool
	d        dice
	attempts int
	failed   map[string]int
	accepted []notice
	ids      map[string]int64 // the sequence by ID
	last     map[string]int64 // the highest accepted sequence, by job
}

// notice is a notification as the receiver got it.
type notice struct {
	Type string
	Data struct {
		Sequence int64
		Job      string
		Item     int64
		Build    int64
		Result   string
	}
}

// rank orders the states of an item.
func (n notice) rank() int {
	return map[string]int{"build.queued": 1, "build.started": 2, "build.ended": 3, "build.cancelled": 3}[n.Type]
}

func newReceiver(reference *reference, wrong func(string, ...any)) *receiver {
	r := &receiver{reference: reference, wrong: wrong, d: newDice(1, 1), failed: map[string]int{}, ids: map[string]int64{}, last: map[string]int64{}}
	s, err := hook.ParseSecret(event.Standard, receiverSecret)
	if err != nil {
		panic(err) // it is part of the program
	}
	if r.verify, err = hook.New(hook.Config{Kind: event.Standard, Secrets: []hook.Secret{s}, Tolerance: 20 * time.Second}); err != nil {
		panic(err) // it is part of the program
	}
	r.server = httptest.NewServer(r)
	return r
}

func (r *receiver) url() string { return r.server.URL }

func (r *receiver) close() {
	r.server.CloseClientConnections()
	r.server.Close()
}

// disturb changes how many requests fail.
func (r *receiver) disturb(d dice, hangs bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults, r.hangs = pick(d, []int{0, 10, 30, 60, 100}), hangs
}

func (r *receiver) heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = 0
}

// ServeHTTP implements [http.Handler]. A notification counts as accepted once it was read, even
// if the sender does not learn it.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender has died
	}
	check, err := r.verify.Begin(now(), hook.Request{Header: event.Header(req.Header)})
	if err == nil {
		_, _ = check.Write(body) // a hash never fails
		err = check.Finish()
	}
	if err == nil && r.reference != nil {
		err = r.reference.verify(req.Header, body)
	}
	var n notice
	if err != nil || json.Unmarshal(body, &n) != nil || req.URL.Path != "/"+n.Data.Job {
		r.wrong("the receiver got %s %v: %v", body, req.Header, err)
		return
	}
	if r.late(n) {
		// The last request of a server that died can be read after another server has
		// continued. A server that still runs waits for the answer.
		if pause(req.Context(), time.Second); req.Context().Err() != nil {
			return
		}
	}
	answer := r.take(n, req.Header.Get("Webhook-Id"))
	switch answer {
	case "accept":
	case "accept and close":
		panic(http.ErrAbortHandler)
	case "close":
		panic(http.ErrAbortHandler)
	case "hang":
		<-req.Context().Done() // the sender gives up
	case "slow":
		pause(req.Context(), time.Second)
		panic(http.ErrAbortHandler)
	case "301":
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusMovedPermanently)
	case "410":
		w.WriteHeader(http.StatusGone)
	case "429":
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	default:
		w.WriteHeader(http.StatusInternalServerError)
	}
}

// late reports whether a later notification of the same job was accepted before.
func (r *receiver) late(n notice) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return n.Data.Sequence < r.last[n.Data.Job]
}

// take decides about a notification, and records it if it is accepted.
func (r *receiver) take(n notice, id string) (answer string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts++
	if before, known := r.ids[id]; known && before != n.Data.Sequence || id == "" {
		r.wrong("the notifications %d and %d have the ID %q", before, n.Data.Sequence, id)
	}
	r.ids[id] = n.Data.Sequence
	answer = "accept"
	if r.d.chance(r.faults) {
		answer = pick(r.d, []string{"500", "500", "429", "301", "close", "slow", "accept and close", "410"})
		if r.hangs && r.d.chance(5) {
			answer = "hang"
		}
		r.failed[answer]++
	}
	if answer == "accept" || answer == "accept and close" {
		r.last[n.Data.Job] = max(r.last[n.Data.Job], n.Data.Sequence)
		r.accepted = append(r.accepted, n)
	}
	return answer
}

// check verifies the order of what was accepted, and returns how each item ended.
func (r *receiver) check() map[int64]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ranks, ended := map[string]int64{}, map[int64]int{}, map[int64]string{}
	for _, n := range r.accepted {
		d := n.Data
		if d.Sequence < last[d.Job] {
			r.wrong("of %s, %d (%s of item %d) was accepted after %d", d.Job, d.Sequence, n.Type, d.Item, last[d.Job])
		}
		last[d.Job] = d.Sequence
		if n.rank() < ranks[d.Item] {
			r.wrong("%s of item %d was accepted after a later state", n.Type, d.Item)
		}
		ranks[d.Item] = n.rank()
		if n.Type == "build.ended" {
			ended[d.Item] = fmt.Sprintf("#%d %s", d.Build, d.Result)
		}
	}
	return ended
}

func (r *receiver) report() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	verified := "signatures were not verified with the reference library"
	if r.reference != nil {
		verified = fmt.Sprintf("the reference library verified %d signatures", r.reference.count())
	}
	return fmt.Sprintf("%d attempts, %d accepted, failed: %v; %s;", r.attempts, len(r.accepted), r.failed, verified)
}
