package queue_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

var (
	seedFlag = flag.Uint64("seed", 0, "replay the model test with one seed")
	runsFlag = flag.Int("runs", 200, "how many seeds the model test tries")
)

// opsOfARun keeps runs short, because the naive model is slow.
const opsOfARun = 250

// TestModel applies random operations to a few lanes and to a naive model, and compares
// everything visible after each operation.
func TestModel(t *testing.T) {
	first, runs := rand.Uint64(), *runsFlag
	if *seedFlag != 0 {
		first, runs = *seedFlag, 1
	}
	began, ops := time.Now(), 0
	for i := range uint64(runs) {
		seed := first + i
		random := rand.New(rand.NewPCG(seed, 0))
		w, next := newWorld(), randomOps(random, seed)
		for range opsOfARun {
			ops++
			if err := w.step(next()); err != nil {
				t.Fatalf("%v\nreplay: go test ./buildtoken/queue -run TestModel -seed %d\nhistory:\n%s", err, seed, w.history())
			}
		}
	}
	t.Logf("%d operations, %.0f/s", ops, float64(ops)/time.Since(began).Seconds())
}

// FuzzLane applies operations that are decoded from bytes to the same model.
func FuzzLane(f *testing.F) {
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 1))
		raw := make([]byte, 60*opBytes)
		for i := range raw {
			raw[i] = byte(random.Uint32())
		}
		f.Add(raw)
	}
	f.Add([]byte{byte(opTrigger), 0, 0, 0, byte(opClaim), 0, 0, 0, byte(opTrigger), 0, 0, 0, byte(opCrash), 9, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		w := newWorld()
		for len(raw) >= opBytes && len(w.ops) < opsOfARun {
			next := op{kind: opKind(raw[0]) % opKinds, a: int(raw[1]), b: int(raw[2]), c: int(raw[3])}
			raw = raw[opBytes:]
			if err := w.step(next); err != nil {
				t.Fatalf("%v\nhistory:\n%s", err, w.history())
			}
		}
	})
}

// op is one operation; what a, b and c mean depends on the kind.
type op struct {
	kind    opKind
	a, b, c int
}

const opBytes = 4

type opKind byte

const (
	opTrigger opKind = iota
	opAdvance
	opClaim
	opFinish
	opCancel
	opAbort
	opRules
	opCrash
	opKinds
)

// String describes the operation in a history.
func (k opKind) String() string {
	return [...]string{"trigger", "advance", "claim", "finish", "cancel", "abort", "rules", "crash"}[k]
}

// randomOps lets most runs fill and empty queues, with rare crashes. Every eighth run has a hot
// trigger whose item gets more causes than it can keep.
func randomOps(r *rand.Rand, seed uint64) func() op {
	upTo := []int{42, 56, 72, 84, 90, 93, 98, 100}
	if seed%8 == 0 {
		upTo = []int{90, 91, 92, 93, 94, 95, 96, 100}
	}
	return func() op {
		roll := r.IntN(100)
		kind := slices.IndexFunc(upTo, func(bound int) bool { return bound > roll })
		return op{opKind(kind), r.IntN(256), r.IntN(256), r.IntN(256)}
	}
}

// world is the lanes under test, with the model.
type world struct {
	now   time.Time
	limit int
	s     store
	m     model
	ops   []op // the operations since the last crash, or all of them before it
	// changes are what the lanes committed, each with the number of operations after which it
	// was committed.
	changes []committed
}

type committed struct {
	after  int
	change queue.Change
}

func newWorld() *world {
	return &world{now: start, limit: 12, s: newStore(), m: newModel()}
}

func (w *world) history() string {
	var text []byte
	for i, o := range w.ops {
		text = fmt.Appendf(text, "%3d %v %d %d %d\n", i, o.kind, o.a, o.b, o.c)
	}
	return string(text)
}

// step applies one operation to both sides and compares them.
func (w *world) step(o op) error {
	if o.kind == opCrash {
		w.crash(o)
	} else if err := w.do(o); err != nil {
		return fmt.Errorf("operation %d (%v %d %d %d): %w", len(w.ops), o.kind, o.a, o.b, o.c, err)
	}
	if err := w.compare(); err != nil {
		return fmt.Errorf("after operation %d (%v %d %d %d): %w", len(w.ops), o.kind, o.a, o.b, o.c, err)
	}
	return nil
}

// crash loses all changes but a prefix, and with them the operations that made the lost ones:
// the disk always has a prefix of what happened.
func (w *world) crash(o op) {
	keep := len(w.changes) - min(o.a%8, len(w.changes))
	w.changes = w.changes[:keep]
	w.s = newStore()
	ops := 0
	for _, c := range w.changes {
		w.s.commit(c)
		ops = c.after
	}
	// The model has no changes, so it repeats the operations. Those between the last kept
	// change and the first lost one changed nothing.
	replay := w.ops[:ops]
	w.now, w.m, w.ops = start, newModel(), nil
	for _, o := range replay {
		w.now = w.now.Add(o.time())
		w.m.do(o, w.now, w.limit)
		w.ops = append(w.ops, o)
	}
}

// time returns how long an operation takes.
func (o op) time() time.Duration {
	if o.kind != opAdvance {
		return 0
	}
	if o.b%32 == 31 { // so that some keys expire
		return 10 * time.Hour
	}
	return time.Duration(o.a%7) * time.Second
}

func (o op) job() string { return jobs[o.a%len(jobs)] }

var jobs = []string{"a", "app/deploy"}

// request returns the trigger of an operation.
func (o op) request() queue.Request {
	r := queue.Request{
		Job: o.job(), Digest: queue.Digest{byte(o.b % 3)}, Solo: o.b%11 == 10,
		Delay: time.Duration(o.c%5-1) * 3 * time.Second,
		Cause: queue.Cause{Kind: queue.CauseRemote, Note: fmt.Sprint("note ", o.c%4)},
	}
	if o.b%7 == 0 { // a hot trigger whose causes all differ
		r.Cause.Note = fmt.Sprint("note ", o.c)
	}
	if o.a%5 == 4 {
		r.Key = &queue.Digest{byte(o.c / 8 % 4)}
	}
	return r
}

func (o op) rules() queue.Rules {
	return queue.Rules{Concurrent: o.b&1 != 0, Disabled: o.b&6 == 6, KeepBuilds: o.c % 5}
}

func (o op) result() queue.Result {
	return []queue.Result{queue.Success, queue.Failure, queue.Aborted, queue.NotBuilt, queue.Unstable}[o.c%5]
}

// do decides with package queue, as a backend does, and compares the result with the model.
func (w *world) do(o op) error {
	w.now = w.now.Add(o.time())
	w.ops = append(w.ops, o)
	change, err := w.decide(o)
	want := w.m.do(o, w.now, w.limit)
	if !sameError(err, want) {
		return fmt.Errorf("error %w, the model has %w", orNone(err), orNone(want))
	}
	if change != nil {
		c := committed{after: len(w.ops), change: *change}
		w.changes = append(w.changes, c)
		w.s.commit(c)
	}
	return nil
}

// sameError compares what errors tell the caller.
func sameError(got, want error) bool {
	var first, wanted *queue.RepeatedError
	if errors.As(want, &wanted) {
		return errors.As(got, &first) && first.Receipt == wanted.Receipt
	}
	return errors.Is(got, want)
}

func orNone(err error) error {
	if err == nil {
		return errors.New("none")
	}
	return err
}

// decide returns no change if the operation has no object.
func (w *world) decide(o op) (*queue.Change, error) {
	lane := w.s.lane(o.job())
	switch o.kind {
	case opTrigger:
		r := o.request()
		r.ID = w.s.nextID
		room := queue.Room{Queued: len(w.s.items), Limit: w.limit}
		change, err := queue.Schedule(w.now, lane, w.s.equal(r), r, room)
		if r.Key != nil {
			change, err = queue.ScheduleOnce(w.now, lane, w.s.equal(r), r, room, w.s.receipt(r), w.s.oldestReceipts(r.Job))
		}
		if err != nil {
			return nil, err
		}
		return &change, nil
	case opClaim:
		first := w.s.first(o.job())
		if first == nil {
			return nil, nil
		}
		if change, ok := queue.Claim(w.now, lane, first, queue.Node{Name: "node"}, o.b); ok {
			return &change, nil
		}
		return nil, nil
	case opFinish:
		b, ok := w.s.build(o)
		if !ok {
			return nil, nil
		}
		change, err := queue.Finish(w.now, lane, w.s.summaries[o.job()], b, o.result(), "because")
		if err != nil {
			return nil, err
		}
		return &change, nil
	case opCancel:
		it, ok := w.s.items[w.s.nextID-1-int64(o.b%16)]
		if !ok {
			return nil, nil
		}
		change := queue.Cancel(w.now, w.s.lane(it.Job), *it, "alice")
		return &change, nil
	case opAbort:
		b, ok := w.s.build(o)
		if !ok {
			return nil, nil
		}
		change, err := queue.Abort(lane, b, fmt.Sprint("user ", o.c))
		if err != nil {
			return nil, err
		}
		return &change, nil
	case opRules:
		lane.Rules = o.rules()
		return &queue.Change{Lane: lane}, nil
	case opAdvance, opCrash, opKinds:
	}
	return nil, nil
}

// compare compares everything that is visible to readers of the queue.
func (w *world) compare() error {
	for _, job := range jobs {
		got, want := w.s.lane(job), w.m.lane(job)
		if !slices.Equal(got.Running, want.Running) || diffLane(got, want) {
			return fmt.Errorf("lane (-model +got):\n%s", cmp.Diff(want, got))
		}
		if n := len(w.s.receipts[job]); n != got.Receipts || n < w.m.receipts(job, w.now) {
			return fmt.Errorf("%d receipts of %s, its lane counts %d, and the model has %d that count", n, job, got.Receipts, w.m.receipts(job, w.now))
		}
		if got, want := w.s.summaries[job].Recent, w.m.recent(job); !slices.Equal(got, want) {
			return fmt.Errorf("recent builds of %s:\n%s", job, cmp.Diff(want, got))
		}
		var due time.Time
		if first := w.s.first(job); first != nil {
			due = first.Due
		}
		if got, want := queue.Next(got, due), w.m.next(job); !got.Equal(want) {
			return fmt.Errorf("next of %s is %v, the model has %v", job, got, want)
		}
	}
	if len(w.s.items) != w.m.count(inQueue) || len(w.s.cancelled) != w.m.count(wasCancelled) || len(w.s.builds) != w.m.count(running)+w.m.count(ended) {
		return fmt.Errorf("%d items, %d cancelled, %d builds; the model has %d, %d, %d", len(w.s.items), len(w.s.cancelled), len(w.s.builds),
			w.m.count(inQueue), w.m.count(wasCancelled), w.m.count(running)+w.m.count(ended))
	}
	for i := range w.m.items {
		if err := w.compareItem(&w.m.items[i]); err != nil {
			return err
		}
	}
	return nil
}

// diffLane compares all but Running.
func diffLane(a, b queue.Lane) bool {
	return a.Job != b.Job || !a.Rules.Equal(b.Rules) || a.Queued != b.Queued || a.LastNumber != b.LastNumber ||
		a.Kept != b.Kept || a.KeptCancelled != b.KeptCancelled || a.Last != b.Last || a.LastEnded != b.LastEnded
}

func (w *world) compareItem(m *modelItem) error {
	var it queue.Item
	switch m.place {
	case inQueue:
		found, ok := w.s.items[m.id]
		if !ok {
			return fmt.Errorf("item %d is lost", m.id)
		}
		it = *found
		if state, _ := w.s.lane(m.job).Explain(w.now, it); state != w.m.state(m, w.now) {
			return fmt.Errorf("item %d is %q, the model has %q", m.id, state, w.m.state(m, w.now))
		}
	case wasCancelled:
		found, ok := w.s.cancelled[m.id]
		if !ok || found.By != "alice" || !found.At.Equal(m.left) {
			return fmt.Errorf("cancelled item %d: %+v %v, the model has %v", m.id, found, ok, m.left)
		}
		it = found.Item
	case running, ended:
		b, ok := w.s.builds[numbered{m.job, m.number}]
		if !ok || b.Running() != (m.place == running) || b.Result != m.result || b.Abort != m.abort || b.Executor != m.executor ||
			!b.Started.Equal(m.left) || !b.Ended.Equal(m.end) {
			return fmt.Errorf("build %s #%d: %+v %v, the model has %+v", m.job, m.number, b, ok, m)
		}
		it = b.Item
	case dropped:
		return nil
	}
	if it.ID != m.id || it.Job != m.job || it.Solo != m.solo || it.Digest != m.digest || !it.Since.Equal(m.since) || !it.Due.Equal(m.due) {
		return fmt.Errorf("item %+v, the model has %+v", it, m)
	}
	if m.place != inQueue && len(w.ops)%8 != 0 {
		return nil // it is unlikely to change now, and folding is most of the work
	}
	causes, more := m.fold()
	if !slices.Equal(it.Causes, causes) || it.MoreCauses != more || it.Triggers() != len(m.notes) {
		return fmt.Errorf("causes of item %d: %v and %d, the model has %v and %d", m.id, it.Causes, it.MoreCauses, causes, more)
	}
	return nil
}
