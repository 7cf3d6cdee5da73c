package queuetest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// overview shows the summary of a job.
func (p *player) overview(a arguments) ([]string, error) {
	all, err := p.q.Overviews(p.t.Context(), []string{a.at(0)})
	if err != nil {
		return refused(err)
	}
	s := all[0].Summary
	show := func(e queue.Ended) string {
		return fmt.Sprintf("#%d %s %s took %s", e.Number, e.Result, since(e.Started), e.Took)
	}
	out := line("oldest on record #%d, last number %d", all[0].Oldest, all[0].Lane.LastNumber)
	for _, e := range s.Recent {
		out = append(out, "recent "+show(e))
	}
	for _, e := range s.Last {
		out = append(out, "last "+show(e))
	}
	if e, ok := s.FailingSince(); ok {
		out = append(out, fmt.Sprint("failing since #", e.Number))
	}
	if d, ok := s.Estimate(); ok {
		out = append(out, "estimate "+d.String())
	}
	return out, nil
}

func (p *player) gone(arguments) ([]string, error) {
	lanes, err := p.q.Gone(p.t.Context())
	if err != nil {
		return refused(err)
	}
	return orNothing(lines(lanes, func(l queue.Lane) string {
		return fmt.Sprintf("%s: %d queued, until %s", l.Job, l.Queued, since(l.GoneUntil))
	})), nil
}

// handle stores a handle: handle JOB NUMBER TEXT.
func (p *player) handle(a arguments) ([]string, error) {
	number, err := a.number(1)
	if err != nil {
		return nil, err
	}
	if err := p.q.SetHandle(p.t.Context(), a.at(0), number, []byte(a.at(2))); err != nil {
		return refused(err)
	}
	return line("stored"), nil
}

// adopt goes on with builds of a job: adopt JOB NUMBER…
func (p *player) adopt(a arguments) ([]string, error) {
	var builds []queue.Build
	var executors []int
	for i := range a.plain[1:] {
		number, err := a.number(i + 1)
		if err != nil {
			return nil, err
		}
		builds = append(builds, queue.Build{Item: queue.Item{Job: a.at(0)}, Number: number})
		executors = append(executors, 7+i)
	}
	adopted, err := p.q.Adopt(p.t.Context(), builds, queue.Node{Name: "adopter"}, executors)
	if err != nil {
		return refused(err)
	}
	return orNothing(lines(adopted, func(b queue.Build) string {
		return fmt.Sprintf("%s on %s, executor %d, handle %q", build(b), b.Node, b.Executor, b.Handle)
	})), nil
}

func notification(n queue.Notification) string {
	out := fmt.Sprintf("%d to %s: item %d of %s %s", n.ID, n.Target, n.Item, n.Job, n.Event)
	if n.Build != 0 {
		out += fmt.Sprint(" #", n.Build)
	}
	if n.Result != "" {
		out += " " + string(n.Result)
	}
	if n.Turn != "" {
		out += " (" + string(n.Turn) + ")"
	}
	out += fmt.Sprintf(" at %s, %s", since(n.At), n.State)
	if n.Tries > 0 {
		out += fmt.Sprintf(", tried %d times", n.Tries)
	}
	if n.State == queue.DeliveryWaiting {
		out += ", next " + since(n.Next)
	}
	if n.Error != "" {
		out += ": " + n.Error
	}
	return out
}

// take takes the notifications that are due: take [LIMIT] [only=TARGET].
func (p *player) take(a arguments) ([]string, error) {
	limit := all
	if len(a.plain) > 0 {
		n, err := a.number(0)
		if err != nil {
			return nil, err
		}
		limit = int(n)
	}
	targets := backlogged(p.t, p.q)
	if text, ok := a.named["only"]; ok {
		targets = []string{text}
	}
	due, next, err := p.q.TakeNotifications(p.t.Context(), p.now, targets, limit)
	if err != nil {
		return refused(err)
	}
	out := lines(due, notification)
	if !next.IsZero() {
		out = append(out, "next "+since(next))
	}
	return orNothing(out), nil
}

// settle records the outcome of an attempt: settle ID [error=TEXT] [after=DURATION] [giveup|skip].
func (p *player) settle(a arguments) ([]string, error) {
	id, err := a.number(0)
	if err != nil {
		return nil, err
	}
	attempt := queue.Attempt{Error: a.named["error"], Jitter: 0.5}
	if text, ok := a.named["after"]; ok {
		if attempt.After, err = time.ParseDuration(text); err != nil {
			return nil, err
		}
	}
	switch a.at(1) {
	case "":
	case "giveup":
		attempt.GiveUp = true
	case "skip":
		attempt.Skip = true
	default:
		return nil, fmt.Errorf("settle has no option %q", a.at(1))
	}
	n, err := p.q.SettleNotification(p.t.Context(), p.now, id, attempt)
	if err != nil {
		return refused(err)
	}
	return line("%s", notification(n)), nil
}

func (p *player) retry(a arguments) ([]string, error) {
	id, err := a.number(0)
	if err != nil {
		return nil, err
	}
	if err := p.q.RetryNotification(p.t.Context(), p.now, id); err != nil {
		return refused(err)
	}
	return line("due"), nil
}

// notifications lists: notifications [JOB] [item=ID] [state=STATE] [limit=N].
func (p *player) notifications(a arguments) ([]string, error) {
	f := queue.NotificationFilter{Job: a.at(0), State: queue.Delivery(strings.ReplaceAll(a.named["state"], "-", " "))}
	var errs [2]error
	if text, ok := a.named["item"]; ok {
		f.Item, errs[0] = strconv.ParseInt(text, 10, 64)
	}
	if text, ok := a.named["limit"]; ok {
		f.Limit, errs[1] = strconv.Atoi(text)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	found, err := p.q.Notifications(p.t.Context(), f)
	if err != nil {
		return refused(err)
	}
	return orNothing(lines(found, notification)), nil
}

func (p *player) backlogs(arguments) ([]string, error) {
	found, err := p.q.Backlogs(p.t.Context())
	if err != nil {
		return refused(err)
	}
	return orNothing(lines(found, func(l queue.Backlog) string {
		out := fmt.Sprintf("%s: %d waiting, %d given up", l.Target, l.Waiting, l.GivenUp)
		if l.Waiting > 0 {
			out += ", oldest " + since(l.Oldest)
		}
		return out
	})), nil
}
