package queuetest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// all is more than any script queues.
const all = 1000

func (p *player) trigger(a arguments) ([]string, error) {
	r, err := p.request(a)
	if err != nil {
		return nil, err
	}
	it, created, err := p.q.Schedule(p.t.Context(), p.now, r)
	if err != nil {
		return refused(err)
	}
	verb := "joined"
	if created {
		verb = "created"
	}
	return line("%s item %d, due %s, causes %s", verb, it.ID, since(it.Due), causes(it)), nil
}

func (p *player) advance(a arguments) ([]string, error) {
	d, err := time.ParseDuration(a.at(0))
	p.now = p.now.Add(d)
	return nil, err
}

// next claims with no free executor: the answer is when to claim again.
func (p *player) next(arguments) ([]string, error) {
	_, next, err := p.q.Claim(p.t.Context(), p.now, queue.Node{Name: "node"}, nil)
	switch {
	case err != nil:
		return refused(err)
	case next.IsZero():
		return line("only an event"), nil
	default:
		return line("%s", since(next)), nil
	}
}

func (p *player) claim(a arguments) ([]string, error) {
	n := int64(1)
	if len(a.plain) > 0 {
		var err error
		if n, err = a.number(0); err != nil {
			return nil, err
		}
	}
	var executors []int
	for i := range int(n) {
		executors = append(executors, i)
	}
	builds, _, err := p.q.Claim(p.t.Context(), p.now, queue.Node{Name: "node"}, executors)
	if err != nil {
		return refused(err)
	}
	var out []string
	for _, b := range builds {
		out = append(out, fmt.Sprintf("%s #%d of item %d on executor %d, causes %s%s", b.Item.Job, b.Number, b.Item.ID, b.Executor, causes(b.Item), values(b.Item)))
	}
	return orNothing(out), nil
}

func (p *player) finish(a arguments) ([]string, error) {
	number, err := a.number(1)
	if err != nil {
		return nil, err
	}
	b, err := p.q.Finish(p.t.Context(), p.now, a.at(0), number, queue.Result(a.at(2)), strings.Join(a.plain[3:], " "))
	if err != nil {
		return refused(err)
	}
	return line("%s", build(b)), nil
}

func (p *player) cancel(a arguments) ([]string, error) {
	id, err := a.number(1)
	if err != nil {
		return nil, err
	}
	if err := p.q.Cancel(p.t.Context(), p.now, a.at(0), id, a.named["by"]); err != nil {
		return refused(err)
	}
	return line("cancelled item %d", id), nil
}

func (p *player) abort(a arguments) ([]string, error) {
	number, err := a.number(1)
	if err != nil {
		return nil, err
	}
	if err := p.q.Abort(p.t.Context(), a.at(0), number, a.named["by"]); err != nil {
		return refused(err)
	}
	return line("wished"), nil
}

func (p *player) aborts(arguments) ([]string, error) {
	builds, err := p.q.Aborts(p.t.Context())
	if err != nil {
		return refused(err)
	}
	return orNothing(lines(builds, func(b queue.Build) string { return fmt.Sprintf("%s by %s", build(b), b.Abort) })), nil
}

func (p *player) item(a arguments) ([]string, error) {
	id, err := a.number(0)
	if err != nil {
		return nil, err
	}
	e, err := p.q.Entry(p.t.Context(), p.now, id)
	if err != nil {
		return refused(err)
	}
	return line("%s", entry(e)), nil
}

func (p *player) items(a arguments) ([]string, error) {
	limit := all
	if text, ok := a.named["limit"]; ok {
		var err error
		if limit, err = strconv.Atoi(text); err != nil {
			return nil, err
		}
	}
	entries, err := p.q.Items(p.t.Context(), p.now, a.at(0), limit)
	if err != nil {
		return refused(err)
	}
	return orNothing(lines(entries, entry)), nil
}

func (p *player) builds(a arguments) ([]string, error) {
	before, limit := int64(0), all
	if text, ok := a.named["before"]; ok {
		var err error
		if before, err = strconv.ParseInt(text, 10, 64); err != nil {
			return nil, err
		}
	}
	if text, ok := a.named["limit"]; ok {
		var err error
		if limit, err = strconv.Atoi(text); err != nil {
			return nil, err
		}
	}
	builds, err := p.q.Builds(p.t.Context(), a.at(0), before, limit)
	if err != nil {
		return refused(err)
	}
	return orNothing(lines(builds, build)), nil
}

func (p *player) oldest(a arguments) ([]string, error) {
	number, err := p.q.Oldest(p.t.Context(), a.at(0))
	if err != nil {
		return refused(err)
	}
	return line("build %d", number), nil
}

func (p *player) lane(a arguments) ([]string, error) {
	lanes, err := p.q.Lanes(p.t.Context(), []string{a.at(0)})
	if err != nil {
		return refused(err)
	}
	l := lanes[0]
	last := "no build has ended"
	if l.LastEnded > 0 {
		last = fmt.Sprintf("#%d %s", l.LastEnded, l.Last)
	}
	receipts := ""
	if l.Receipts > 0 {
		receipts = fmt.Sprintf(", %d receipts", l.Receipts)
	}
	return line("%d queued, running %v, last number %d, %d ended and %d cancelled on record, last result: %s%s",
		l.Queued, l.Running, l.LastNumber, l.Kept, l.KeptCancelled, last, receipts), nil
}

// setRules sets the rules of a job: rules JOB [concurrent] [disabled] [remote] [keep=N] [label=L]
// [notify:TARGET=CONDITION,…], or takes it out of the configuration: rules JOB gone.
// limit=N and grace=DURATION are for all jobs.
func (p *player) setRules(a arguments) ([]string, error) {
	var r queue.Rules
	gone := false
	for _, word := range a.plain[min(1, len(a.plain)):] {
		switch word {
		case "concurrent":
			r.Concurrent = true
		case "disabled":
			r.Disabled = true
		case "remote":
			r.Remote = true
		case "gone":
			gone = true
		default:
			return nil, fmt.Errorf("rules have no option %q", word)
		}
	}
	for _, name := range a.order {
		value := a.named[name]
		var err error
		if target, ok := strings.CutPrefix(name, "notify:"); ok {
			n := queue.Target{Name: target}
			for _, c := range strings.Split(value, ",") {
				n.On = append(n.On, queue.Condition(c))
			}
			r.Notify = append(r.Notify, n)
			continue
		}
		switch name {
		case "grace":
			p.grace, err = time.ParseDuration(value)
		case "keep":
			r.KeepBuilds, err = strconv.Atoi(value)
		case "limit":
			p.limit, err = strconv.Atoi(value)
		case "label":
			r.Label = value
		default:
			err = fmt.Errorf("rules have no option %q", name)
		}
		if err != nil {
			return nil, err
		}
	}
	switch job := a.at(0); {
	case gone:
		delete(p.rules, job)
	case job != "":
		p.rules[job] = r
	}
	p.applyRules()
	return nil, nil
}

func (p *player) restart(arguments) ([]string, error) {
	err := p.q.Close()
	p.open()
	return nil, err
}

// crash continues with what is durable; the rest is lost.
func (p *player) crash(arguments) ([]string, error) {
	after := p.store.Copy(p.t)
	err := p.q.Close()
	p.store = after
	p.open()
	return nil, err
}

func (p *player) reclaim(a arguments) ([]string, error) {
	// keep=handles leaves those with a handle to be adopted.
	var keep func(queue.Build) bool
	if a.named["keep"] == "handles" {
		keep = func(b queue.Build) bool { return len(b.Handle) > 0 }
	}
	lost, err := p.q.Reclaim(p.t.Context(), p.now, strings.Join(a.plain, " "), keep)
	if err != nil {
		return refused(err)
	}
	return orNothing(lines(lost, build)), nil
}

func (p *player) refs(arguments) ([]string, error) {
	refs, err := p.q.Refs(p.t.Context())
	if err != nil {
		return refused(err)
	}
	return orNothing(refs), nil
}

func (p *player) changed(arguments) ([]string, error) {
	select {
	case <-p.q.Changed():
		return line("yes"), nil
	default:
		return line("no"), nil
	}
}
