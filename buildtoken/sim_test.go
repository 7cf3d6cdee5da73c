package buildtoken_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

var (
	seeds = flag.Int("seeds", 10, "how many random histories TestSim runs")
	seed  = flag.Uint64("seed", 0, "the only history that TestSim runs, unless 0")
)

// TestSim runs random histories of the whole system in fake time, on a queue in a file:
// triggers, cancellations, stops, reloads, failing commits, graceful restarts and crashes.
// After each step it compares what the controller returns with what it has promised.
//
// Seeds that failed once are in testdata/sim/seeds.txt and always run.
func TestSim(t *testing.T) {
	all := failedOnce(t)
	for s := range *seeds {
		all = append(all, uint64(s)+1)
	}
	if *seed != 0 {
		all = []uint64{*seed}
	}
	for _, s := range all {
		t.Run(strconv.FormatUint(s, 10), func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("replay: go test ./buildtoken -run TestSim -seed %d", s)
				}
			})
			synctest.Test(t, func(t *testing.T) { simulate(t, s) })
		})
	}
}

func failedOnce(t *testing.T) []uint64 {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "sim", "seeds.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []uint64
	for lines := bufio.NewScanner(f); lines.Scan(); {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		s, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// world is the system under test, and what it has promised so far.
type world struct {
	t     *testing.T
	rand  *rand.Rand
	dir   string
	key   vault.Key
	trace []string

	c      *buildtoken.Controller
	plug   *plug
	def    *definition.Site
	detach func()
	now    setup // in force

	items map[int64]*promise
	// waits are the goroutines that wait for the end of an item.
	waits []*simWait
	// maybe are triggers whose answer was lost in a crash.
	maybe []simTrigger
	// keyed are the triggers with an idempotency key, by their keys.
	keyed map[string]*simKeyed

	// mu guards the following, which running builds change.
	mu      sync.Mutex
	running map[string]string // by job and number: who stopped the build
	started map[int64]string  // by item
	numbers map[string]bool   // builds that ran, by job and number
	wrong   []string
}

// setup is a configuration.
type setup struct {
	executors int
	jobs      map[string]simJob
}

type simJob struct{ absent, disabled, concurrent bool }

// promise is what is known of an accepted item.
type promise struct {
	job       string
	due       time.Time
	causes    map[string]int // by note
	cancelled bool
}

type simTrigger struct {
	job, value, note string
	delay            time.Duration
	key              string
}

// simKeyed is the first trigger with a key.
type simKeyed struct {
	simTrigger
	// out is how it was answered. Item.ID is 0 while it is unknown because the answer was lost
	// in a crash.
	out buildtoken.Outcome
	// unsure is set while it is also unknown whose values were accepted.
	unsure bool
}

// simWait is a goroutine that waits for the end of an item.
type simWait struct {
	id   int64
	over atomic.Bool
	// The following are set when it has returned.
	entry queue.Entry
	err   error
}

// plug is a queue whose power can be cut: from then on it answers no calls.
type plug struct {
	*boltqueue.DB
	pulled atomic.Bool
	// pullBefore and pullAfter cut the power at the next commit.
	pullBefore, pullAfter atomic.Bool
	// fail is how many of the next commits return an error; every second of these is on disk
	// nevertheless.
	fail atomic.Int32
	// save copies the files as the crash leaves them.
	save func()
}

var errCrashed = fmt.Errorf("crashed: %w", queue.ErrClosed)

func (p *plug) commit(tx *bolt.Tx) error {
	tx.DB().NoSync = true
	if n := p.fail.Load(); n > 0 && p.fail.CompareAndSwap(n, n-1) {
		if n%2 == 0 {
			if err := tx.Commit(); err != nil {
				return err
			}
		}
		return errors.New("sim: no space left")
	}
	if p.pullBefore.CompareAndSwap(true, false) {
		p.save()
		p.pulled.Store(true)
		return errors.New("sim: crashed before the commit")
	}
	err := tx.Commit()
	if p.pullAfter.CompareAndSwap(true, false) {
		p.save()
		p.pulled.Store(true)
	}
	return err
}

// after returns the answer of the queue, unless the power was cut meanwhile.
func after[T any](p *plug, answer T, err error) (T, error) {
	if p.pulled.Load() {
		var none T
		return none, errCrashed
	}
	return answer, err
}

func (p *plug) Claim(ctx context.Context, now time.Time, node queue.Node, executors []int) ([]queue.Build, time.Time, error) {
	if p.pulled.Load() {
		return nil, time.Time{}, errCrashed
	}
	builds, next, err := p.DB.Claim(ctx, now, node, executors)
	builds, err = after(p, builds, err)
	return builds, next, err
}

func (p *plug) Finish(ctx context.Context, now time.Time, job string, number int64, r queue.Result, reason string) (queue.Build, error) {
	if p.pulled.Load() {
		return queue.Build{}, errCrashed
	}
	b, err := p.DB.Finish(ctx, now, job, number, r, reason)
	return after(p, b, err)
}

func (p *plug) Schedule(ctx context.Context, now time.Time, r queue.Request) (queue.Item, bool, error) {
	if p.pulled.Load() {
		return queue.Item{}, false, errCrashed
	}
	it, created, err := p.DB.Schedule(ctx, now, r)
	it, err = after(p, it, err)
	return it, created, err
}

func (p *plug) Aborts(ctx context.Context) ([]queue.Build, error) {
	builds, err := p.DB.Aborts(ctx)
	return after(p, builds, err)
}

func simulate(t *testing.T, seed uint64) {
	w := &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(), key: vault.NewKey(),
		items: map[int64]*promise{}, keyed: map[string]*simKeyed{}, running: map[string]string{}, started: map[int64]string{}, numbers: map[string]bool{},
		now: setup{executors: 2, jobs: map[string]simJob{"a": {}, "b": {concurrent: true}, "team/a": {}, "team/c": {}}},
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("steps:\n%s", strings.Join(w.trace, "\n"))
		}
	})
	w.open()
	w.detach = w.attach(w.now)
	for range 60 {
		w.step()
		synctest.Wait()
		w.check()
		if t.Failed() {
			break
		}
	}
	w.end()
}

func (w *world) logf(format string, args ...any) {
	w.trace = append(w.trace, time.Now().UTC().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// step performs one random action.
func (w *world) step() {
	switch n := w.rand.IntN(100); {
	case n < 45:
		w.triggers(1 + w.rand.IntN(4))
	case n < 60:
		d := time.Duration(w.rand.IntN(20_000)) * time.Millisecond
		w.logf("sleep %v", d)
		time.Sleep(d)
	case n < 68:
		w.cancel()
	case n < 76:
		w.stop()
	case n < 86:
		w.reload()
	case n < 91:
		n := w.rand.Int32N(4) + 1
		w.logf("the next %d commits fail", n)
		w.plug.fail.Store(n)
		w.triggers(2)
		w.plug.fail.Store(0)
		time.Sleep(3 * time.Second) // until every failed commit was tried again
		synctest.Wait()
		w.adopt()
	case n < 95:
		w.restart()
	default:
		w.crash()
	}
}

func (w *world) open() {
	p := &plug{}
	db, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(w.dir, "queue.db"), Commit: p.commit})
	if err != nil {
		w.t.Fatal(err)
	}
	p.DB = db
	p.save = w.saver(w.dir)
	w.plug = p
	synctest.Wait()
	for _, wait := range w.waits {
		if !wait.over.Load() {
			w.t.Errorf("a goroutine still waits for item %d after the controller was closed", wait.id)
		}
	}
	w.waits = nil
	w.c, err = buildtoken.Open(w.t.Context(), buildtoken.Options{Queue: p, Dir: w.dir, SealKey: w.key})
	if err != nil {
		w.t.Fatal(err)
	}
}

// saver returns a function that copies the files of a directory to the one that is opened next.
func (w *world) saver(from string) func() {
	next := w.t.TempDir()
	return func() {
		if err := os.CopyFS(next, os.DirFS(from)); err != nil {
			w.t.Errorf("copy: %v", err)
		}
		w.dir = next
	}
}

func (w *world) attach(s setup) (detach func()) {
	w.mu.Lock()
	w.now = s
	w.mu.Unlock()
	spec := definition.Spec{Root: definition.Folder{Tokens: opens()}}
	team := definition.Folder{Name: "team"}
	for _, full := range slices.Sorted(maps.Keys(s.jobs)) {
		j := s.jobs[full]
		if j.absent {
			continue
		}
		folder, name := job.Split(full)
		defined := definition.Job{Name: name, Disabled: j.disabled, Concurrent: j.concurrent, Params: stringParams("V"), Runner: runs(w.run)}
		if folder == "" {
			spec.Root.Jobs = append(spec.Root.Jobs, defined)
		} else {
			team.Jobs = append(team.Jobs, defined)
		}
	}
	spec.Root.Folders = []definition.Folder{team}
	def := define(w.t, spec)
	w.def = def
	grace := []time.Duration{-1, 5 * time.Second, time.Minute}[w.rand.IntN(3)]
	detach, err := w.c.Attach(w.t.Context(), buildtoken.Config{
		Sites: []*definition.Site{def}, Executors: s.executors, KeepBuilds: 100_000, ShutdownTimeout: grace, QueueLimit: 30,
	})
	if err != nil {
		w.t.Fatalf("Attach = %v", err)
	}
	return detach
}

// run is the runner. It checks the rules of the simulation when a build starts.
func (w *world) run(ctx context.Context, b runner.Build, _ io.Writer) runner.Result {
	name := fmt.Sprintf("%s #%d", b.Job, b.Number)
	w.mu.Lock()
	j := w.now.jobs[b.Job]
	beside := 0
	for other := range w.running {
		if strings.HasPrefix(other, b.Job+" #") {
			beside++
		}
	}
	switch earlier, twice := w.started[b.QueueID]; {
	case twice:
		w.wrong = append(w.wrong, fmt.Sprintf("item %d was started as %s and as %s", b.QueueID, earlier, name))
	case w.numbers[name]:
		w.wrong = append(w.wrong, fmt.Sprintf("%s was started twice", name))
	case j.absent || j.disabled:
		w.wrong = append(w.wrong, fmt.Sprintf("%s was started, its job is %+v", name, j))
	case !j.concurrent && beside > 0:
		w.wrong = append(w.wrong, fmt.Sprintf("%s was started beside another build of its job", name))
	case len(w.running) >= w.now.executors:
		w.wrong = append(w.wrong, fmt.Sprintf("%s was started beside %d builds on %d executors", name, len(w.running), w.now.executors))
	}
	w.started[b.QueueID] = name
	w.numbers[name] = true
	w.running[name] = ""
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.running, name)
		w.mu.Unlock()
	}()
	return lasts(time.Duration(b.QueueID*7%13)*time.Second)(ctx, b, nil)
}

// triggers sends several triggers at the same time.
func (w *world) triggers(n int) {
	asked := make([]simTrigger, n)
	for i := range asked {
		asked[i] = simTrigger{
			job:   w.pick(slices.Sorted(maps.Keys(w.now.jobs))),
			value: w.pick([]string{"x", "y"}),
			note:  w.pick([]string{"push", "cron", "cron", "n" + strconv.Itoa(len(w.trace))}),
			delay: time.Duration(w.rand.IntN(4)) * time.Duration(w.rand.IntN(8_000)) * time.Millisecond,
		}
		switch known := slices.Sorted(maps.Keys(w.keyed)); w.rand.IntN(6) {
		case 0:
			asked[i].key = fmt.Sprintf("k%d.%d", len(w.trace), i)
		case 1:
			// Triggers that are sent at the same time have different keys: which of two with
			// the same key is the first is tested elsewhere.
			if len(known) > 0 && i == 0 {
				first := w.keyed[w.pick(known)]
				asked[i].key, asked[i].job = first.key, first.job
				if w.rand.IntN(4) > 0 {
					asked[i].value = first.value
				}
			}
		}
		w.logf("trigger %+v", asked[i])
	}
	outs, errs := make([]buildtoken.Outcome, n), make([]error, n)
	now := time.Now()
	var wait sync.WaitGroup
	for i, a := range asked {
		wait.Go(func() {
			outs[i], errs[i] = w.c.Trigger(w.t.Context(), w.def, ask(a.job, values("V", a.value), delayed(a.delay.String()), func(t *buildtoken.Trigger) {
				t.Cause = &a.note
				if a.key != "" {
					t.IdempotencyKey = &a.key
				}
			}))
		})
	}
	wait.Wait()
	for i, a := range asked {
		w.answered(now, a, outs[i], errs[i])
	}
}

func (w *world) pick(from []string) string { return from[w.rand.IntN(len(from))] }

func (w *world) answered(now time.Time, a simTrigger, out buildtoken.Outcome, err error) {
	j := w.now.jobs[a.job]
	var want error
	switch {
	case j.absent:
		want = definition.ErrUnknownJob
	case j.disabled:
		want = definition.ErrNotBuildable
	case errors.Is(err, errCrashed):
		w.maybe = append(w.maybe, a)
		want = errCrashed
		if first := w.keyed[a.key]; first != nil {
			first.unsure = first.unsure || a.value != first.value
		} else if a.key != "" {
			w.keyed[a.key] = &simKeyed{simTrigger: a}
		}
	case w.keyed[a.key] != nil:
		if w.again(a, out, err) {
			return
		}
	case errors.Is(err, queue.ErrFull):
		want = queue.ErrFull
	case errors.Is(err, queue.ErrStorage):
		want = queue.ErrStorage
	}
	if !errors.Is(err, want) {
		w.t.Errorf("Trigger(%+v) = %v, want %v", a, err, want)
	}
	if err != nil {
		return
	}
	if out.Repeated {
		w.t.Errorf("Trigger(%+v) = %+v, but the key was never given", a, out)
	}
	if a.key != "" {
		w.keyed[a.key] = &simKeyed{simTrigger: a, out: out}
	}
	p := w.items[out.Item.ID]
	if p == nil {
		p = &promise{job: a.job, due: now.Add(a.delay), causes: map[string]int{}}
		w.items[out.Item.ID] = p
	}
	if due := now.Add(a.delay); due.Before(p.due) {
		p.due = due
	}
	if len(w.trace)%3 == 0 {
		w.await(out.Item.ID)
	}
	p.causes[a.note]++
	if p.job != a.job {
		w.t.Errorf("item %d of %s was given to a trigger of %s", out.Item.ID, p.job, a.job)
	}
}

// await waits for the end of an item, at most until the controller is closed.
func (w *world) await(id int64) {
	wait := &simWait{id: id}
	w.waits = append(w.waits, wait)
	c, def := w.c, w.def
	go func() {
		wait.entry, wait.err = c.Await(context.WithoutCancel(w.t.Context()), def, id, queue.Entry.Ended)
		wait.over.Store(true)
	}()
}

// checkWaits verifies that a waiting goroutine has returned if and only if its item has ended.
func (w *world) checkWaits(now time.Time) {
	// A wait that reads the queue while commits fail returns the error, and is over.
	w.waits = slices.DeleteFunc(w.waits, func(wait *simWait) bool { return wait.over.Load() && errors.Is(wait.err, queue.ErrStorage) })
	for _, wait := range w.waits {
		entry, err := w.plug.Entry(w.t.Context(), now, wait.id)
		switch over := wait.over.Load(); {
		case err != nil:
			w.t.Errorf("Entry of item %d, which a goroutine waits for: %v", wait.id, err)
		case over != entry.Ended():
			w.t.Errorf("item %d has ended: %v; the wait for it has returned: %v", wait.id, entry.Ended(), over)
		case over && (wait.err != nil || !wait.entry.Ended()):
			w.t.Errorf("the wait for item %d returned %+v, %v", wait.id, wait.entry, wait.err)
		}
	}
}

// again checks the answer to a trigger whose key was used before. It returns false if the
// trigger may be the first one nevertheless.
func (w *world) again(a simTrigger, out buildtoken.Outcome, err error) bool {
	first := w.keyed[a.key]
	known := first.out.Item.ID != 0
	switch {
	case errors.Is(err, queue.ErrStorage):
	case err == nil && out.Repeated && known:
		if out.Item.ID != first.out.Item.ID || out.Created != first.out.Created || a.value != first.value {
			w.t.Errorf("Trigger(%+v) = %+v, but the first with this key was %+v, %+v", a, out, first.simTrigger, first.out)
		}
	case err == nil && out.Repeated:
		first.out, first.value, first.unsure = out, a.value, false // now it is known; adopt has recorded its item
		if w.items[out.Item.ID] == nil {
			w.t.Errorf("Trigger(%+v) = %+v, an item that was never accepted", a, out)
		}
	case errors.Is(err, queue.ErrKeyReused):
		if a.value == first.value && !first.unsure {
			w.t.Errorf("Trigger(%+v) = %v, but the values are those of the first", a, err)
		}
	case known:
		w.t.Errorf("Trigger(%+v) = %+v, %v, but the first with this key was answered %+v", a, out, err, first.out)
	case errors.Is(err, queue.ErrFull): // so the first one was lost in the crash
	default:
		delete(w.keyed, a.key)
		return false
	}
	return true
}

// queued returns the IDs of items that were neither cancelled nor started.
func (w *world) queued() []int64 {
	var ids []int64
	for _, id := range slices.Sorted(maps.Keys(w.items)) {
		entry, err := w.plug.Entry(w.t.Context(), time.Now(), id)
		if err == nil && entry.State != queue.Left {
			ids = append(ids, id)
		}
	}
	return ids
}

func (w *world) cancel() {
	ids := w.queued()
	if len(ids) == 0 {
		return
	}
	id := ids[w.rand.IntN(len(ids))]
	err := w.c.Cancel(w.t.Context(), w.items[id].job, id, "user sim")
	w.logf("cancel item %d: %v", id, err)
	if err != nil {
		w.t.Errorf("Cancel(%d) = %v", id, err)
		return
	}
	w.items[id].cancelled = true
}

func (w *world) stop() {
	w.mu.Lock()
	names := slices.Sorted(maps.Keys(w.running))
	w.mu.Unlock()
	if len(names) == 0 {
		return
	}
	name := w.pick(names)
	full, text, _ := strings.Cut(name, " #")
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		w.t.Fatal(err)
	}
	w.logf("stop %s", name)
	if err := w.c.StopBuild(w.t.Context(), full, number, "user sim"); err != nil {
		w.t.Errorf("StopBuild(%s) = %v", name, err)
	}
	synctest.Wait()
	b, err := w.c.Build(w.t.Context(), full, number)
	if err != nil || b.Result != queue.Aborted || b.Reason != "stopped by user sim" {
		w.t.Errorf("after StopBuild, %s is %s %q, %v", name, b.Result, b.Reason, err)
	}
}

// reload changes the configuration. Every fourth reload fails after the new configuration was
// attached, and the old one comes back.
func (w *world) reload() {
	before, beforeDef, next := w.now, w.def, setup{executors: 1 + w.rand.IntN(3), jobs: map[string]simJob{}}
	for _, full := range slices.Sorted(maps.Keys(before.jobs)) {
		next.jobs[full] = simJob{absent: w.rand.IntN(8) == 0, disabled: w.rand.IntN(6) == 0, concurrent: w.rand.IntN(3) == 0}
	}
	w.logf("reload %+v", next)
	detach := w.attach(next)
	synctest.Wait()
	if w.rand.IntN(4) > 0 {
		w.detach()
		w.detach = detach
		return
	}
	w.logf("reload failed, back to %+v", before)
	w.mu.Lock()
	w.now = before
	w.mu.Unlock()
	w.def = beforeDef
	detach()
}

func (w *world) restart() {
	w.logf("restart")
	if err := w.c.Close(); err != nil {
		w.t.Fatalf("Close = %v", err)
	}
	w.mu.Lock()
	for name := range w.running {
		w.t.Errorf("%s runs after Close", name)
	}
	w.mu.Unlock()
	time.Sleep(time.Duration(w.rand.IntN(10_000)) * time.Millisecond)
	w.open()
	w.checkRunning(nil)
	w.detach = w.attach(w.now)
}

// crash ends the process while it is idle, or before or after a commit.
func (w *world) crash() {
	kind := w.rand.IntN(3)
	w.logf("crash %s", []string{"at a quiet instant", "before a commit", "after a commit"}[kind])
	old, p, dir := w.c, w.plug, w.dir
	switch kind {
	case 0:
		synctest.Wait()
	case 1:
		p.pullBefore.Store(true)
	case 2:
		p.pullAfter.Store(true)
	}
	if kind > 0 {
		w.triggers(4)
		synctest.Wait()
		time.Sleep(time.Duration(w.rand.IntN(5_000)) * time.Millisecond)
		synctest.Wait()
	}
	p.pullBefore.Store(false)
	p.pullAfter.Store(false)
	if w.dir == dir { // no commit happened
		p.pulled.Store(true)
		p.save()
	}
	if err := old.Close(); err != nil {
		w.t.Fatalf("Close of the crashed controller = %v", err)
	}
	w.open()
	synctest.Wait()
	w.adopt()
	lost, err := w.plug.Lost(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.detach = w.attach(w.now)
	for _, b := range lost {
		if got, err := w.plug.Build(w.t.Context(), b.Item.Job, b.Number); err != nil || got.Result != queue.Aborted {
			w.t.Errorf("after a crash, %s #%d = %+v, %v; want it ABORTED", b.Item.Job, b.Number, got, err)
		}
	}
}

// adopt takes over what a crash or a failed commit may have changed: counts of equal causes
// that were not on disk yet, and triggers that were not answered.
func (w *world) adopt() {
	known := func(it queue.Item) {
		p := w.items[it.ID]
		if p == nil {
			p = &promise{job: it.Job, due: it.Due, causes: map[string]int{}}
			w.items[it.ID] = p
		}
		for _, c := range it.Causes {
			unanswered := slices.IndexFunc(w.maybe, func(a simTrigger) bool { return a.job == it.Job && a.note == c.Note })
			switch promised := p.causes[c.Note]; {
			case promised == 0 && unanswered < 0:
				w.t.Errorf("after a crash, item %d has the cause %q, which no trigger had", it.ID, c.Note)
			case c.Count > promised && unanswered < 0:
				w.t.Errorf("after a crash, item %d counts cause %q %d times, want at most %d", it.ID, c.Note, c.Count, promised)
			}
			p.causes[c.Note] = c.Count // a crash can lose counts
		}
		if it.Due.Before(p.due) {
			if !slices.ContainsFunc(w.maybe, func(a simTrigger) bool { return a.job == it.Job }) {
				w.t.Errorf("after a crash, item %d is due %v, want %v", it.ID, it.Due, p.due)
			}
			p.due = it.Due
		}
	}
	entries, err := w.plug.Items(w.t.Context(), time.Now(), "", 10_000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		known(e.Item)
	}
	for _, b := range w.builds() {
		known(b.Item)
	}
	w.maybe = nil
}

// builds returns all builds on record.
func (w *world) builds() []queue.Build {
	var all []queue.Build
	for _, full := range slices.Sorted(maps.Keys(w.now.jobs)) {
		builds, err := w.c.Builds(w.t.Context(), full, 0, 1_000_000)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, builds...)
	}
	return all
}

// checkRunning compares the running builds on record with those that really run.
func (w *world) checkRunning(running []string) {
	w.t.Helper()
	var recorded []string
	for _, b := range w.builds() {
		if b.Running() {
			recorded = append(recorded, fmt.Sprintf("%s #%d", b.Item.Job, b.Number))
		}
	}
	slices.Sort(recorded)
	if !slices.Equal(recorded, running) {
		w.t.Errorf("on record, %v run, want %v", recorded, running)
	}
}

// check compares the records with what was promised.
func (w *world) check() {
	w.mu.Lock()
	running := slices.Sorted(maps.Keys(w.running))
	for _, wrong := range w.wrong {
		w.t.Error(wrong)
	}
	started := maps.Clone(w.started)
	w.mu.Unlock()
	w.checkRunning(running)
	byItem := map[int64]queue.Build{}
	last := map[string]queue.Build{}
	for _, b := range slices.Backward(w.builds()) {
		if other, twice := byItem[b.Item.ID]; twice {
			w.t.Errorf("item %d became builds %d and %d of %s", b.Item.ID, other.Number, b.Number, b.Item.Job)
		}
		byItem[b.Item.ID] = b
		if before := last[b.Item.Job]; b.Number <= before.Number || b.Started.Before(before.Started) {
			w.t.Errorf("%s #%d started %v, after #%d at %v", b.Item.Job, b.Number, b.Started, before.Number, before.Started)
		}
		last[b.Item.Job] = b
		if b.Started.Before(b.Item.Due) {
			w.t.Errorf("%s #%d started %v, it was due %v", b.Item.Job, b.Number, b.Started, b.Item.Due)
		}
		if w.items[b.Item.ID] == nil {
			w.t.Errorf("%s #%d is of item %d, which was never accepted", b.Item.Job, b.Number, b.Item.ID)
		}
	}
	now := time.Now()
	w.checkWaits(now)
	for _, id := range slices.Sorted(maps.Keys(w.items)) {
		w.checkItem(now, id, len(running), started)
	}
}

// checkItem verifies that an accepted item is on record, with all its causes.
func (w *world) checkItem(now time.Time, id int64, running int, started map[int64]string) {
	p := w.items[id]
	entry, err := w.plug.Entry(w.t.Context(), now, id)
	if err != nil {
		w.t.Errorf("item %d is lost: %v", id, err)
		return
	}
	causes := map[string]int{}
	for _, c := range entry.Item.Causes {
		causes[c.Note] = c.Count
	}
	if !maps.Equal(causes, p.causes) {
		w.t.Errorf("item %d has causes %v, want %v", id, causes, p.causes)
	}
	if !entry.Item.Due.Equal(p.due) {
		w.t.Errorf("item %d is due %v, want %v", id, entry.Item.Due, p.due)
	}
	switch {
	case (entry.Cancelled != nil) != p.cancelled:
		w.t.Errorf("item %d: cancelled is %v, want %v", id, entry.Cancelled != nil, p.cancelled)
	case entry.State == queue.Left:
		name, ran := started[id]
		if b := entry.Build; ran && (b == nil || name != fmt.Sprintf("%s #%d", b.Item.Job, b.Number)) {
			w.t.Errorf("item %d ran as %s, its record is %+v", id, name, b)
		}
	case started[id] != "":
		w.t.Errorf("item %d is queued and ran as %s", id, started[id])
	case entry.State == queue.Buildable && running < w.now.executors:
		w.t.Errorf("item %d of %s has been buildable since %v, and %d of %d executors are busy", id, p.job, p.due, running, w.now.executors)
	}
}

// end lets everything run that can, and closes the controller.
func (w *world) end() {
	w.logf("end")
	for _, full := range slices.Sorted(maps.Keys(w.now.jobs)) {
		w.now.jobs[full] = simJob{}
	}
	detach := w.attach(setup{executors: 2, jobs: w.now.jobs})
	w.detach()
	time.Sleep(24 * time.Hour)
	synctest.Wait()
	w.check()
	if ids := w.queued(); len(ids) > 0 {
		w.t.Errorf("items %v are queued at the end", ids)
	}
	w.checkRunning(nil)
	detach()
	if err := w.c.Close(); err != nil {
		w.t.Errorf("Close = %v", err)
	}
	w.logf("%d items, %d started", len(w.items), len(w.started))
}
