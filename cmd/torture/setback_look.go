package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"
)

// look hands the newest builds of all jobs to the history, with the log of one that has ended,
// and returns the builds.
func (s *setBacks) look(ctx context.Context, at *client, limit int) ([]recorded, error) {
	begun := now()
	var all []recorded
	tree := fmt.Sprintf("allBuilds[%s]{0,%d}", buildsTree, limit)
	for _, name := range slices.Sorted(maps.Keys(setBackJobs())) {
		var shown jobJSON
		if err := at.get(ctx, (&job{name: name}).path()+"/api/json?tree="+url.QueryEscape(tree), &shown); err != nil {
			return nil, err
		}
		for _, b := range shown.AllBuilds {
			all = append(all, recorded{
				job: name, number: b.Number, item: b.QueueID, id: contentOf(b.Actions).params["ID"],
				node: b.BuiltOn, result: b.Result, reason: b.Description,
			})
		}
	}
	if err := s.h.read(); err != nil {
		return nil, err
	}
	for _, b := range all {
		s.h.shown(b)
	}
	if b, ok := newestEnded(all); ok {
		return all, s.log(ctx, at, b, begun)
	}
	return all, nil
}

// newestEnded returns the newest build that came to its end by itself.
func newestEnded(all []recorded) (newest recorded, ok bool) {
	for _, b := range all {
		if (b.result == "SUCCESS" || b.result == "FAILURE") && b.item > newest.item {
			newest, ok = b, true
		}
	}
	return newest, ok
}

// log hands the log of a build to the history, which was on record at an instant.
func (s *setBacks) log(ctx context.Context, at *client, b recorded, asked time.Time) error {
	text, err := at.text(ctx, fmt.Sprintf("%s/%d/consoleText", (&job{name: b.job}).path(), b.number))
	if err != nil {
		if _, ok := errors.AsType[*statusError](err); ok && b.result == "ABORTED" {
			return nil // lost before its log began
		}
		return err
	}
	s.h.logged(b, text, s.h.steady(asked, now()))
	return nil
}

// setBackPatience is how long servers may take until they go on as if nothing had been, and
// until something moves.
const setBackPatience = 60 * time.Second

// quiet waits, with nothing wrong any more, until all that is queued has ended, and compares
// what every server shows with what has happened.
func (s *setBacks) quiet(ctx context.Context) error {
	var all []recorded
	var asked time.Time
	for moved, left := now(), ""; ; {
		rest, err := "", error(nil)
		asked = now()
		n := pick(s.d, s.members)
		if err := s.revive(n); err != nil {
			return err
		}
		_, rest, err = s.rest(ctx, n, 50)
		if err == nil && rest == "" {
			if all, rest, err = s.rest(ctx, n, everything); err == nil && rest == "" {
				break
			}
		}
		if err == nil && rest != left {
			moved, left = now(), rest
		}
		if now().Sub(moved) > setBackPatience {
			s.h.report("nothing moves for %v, with nothing wrong: %s %v", setBackPatience, rest, err)
			return errFound
		}
		if !pause(ctx, 300*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
	// What was stopped because the database has lost it is gone by now.
	if !pause(ctx, setBackTakeover+recovery) {
		return context.Cause(ctx)
	}
	if err := s.h.read(); err != nil {
		return err
	}
	s.h.settled(all, asked)
	return s.compare(ctx, all)
}

// everything is more builds than a job has.
const everything = 1_000_000

// rest returns the newest builds of each job that a server shows, and what has still to end.
func (s *setBacks) rest(ctx context.Context, n *setBackNode, limit int) (all []recorded, rest string, err error) {
	at := newClient(n.site)
	defer at.close()
	var q queueJSON
	if err := at.get(ctx, "/queue/api/json", &q); err != nil {
		return nil, "", err
	}
	for _, it := range q.Items {
		rest += fmt.Sprintf("item %d ", it.ID)
	}
	if all, err = s.look(ctx, at, limit); err != nil {
		return nil, "", err
	}
	for _, b := range all {
		if b.result == "" {
			rest += fmt.Sprintf("%v ", b)
		}
	}
	return all, rest, nil
}

// compare looks whether all servers show the same builds, with logs of their own.
func (s *setBacks) compare(ctx context.Context, all []recorded) error {
	begun := now()
	for k, n := range s.members {
		others, rest, err := s.rest(ctx, n, everything)
		if err != nil || rest != "" || !slices.Equal(all, others) {
			s.h.report("%s shows, with nothing wrong, %v %s: %v; another server showed %v", n.name, difference(others, all), rest, err, difference(all, others))
			return errFound
		}
		at := newClient(n.site)
		for _, b := range all {
			if k == 0 && !s.h.fresh(b) && !s.d.chance(2) || k != 0 && !s.d.chance(5) {
				continue
			}
			if err := s.log(ctx, at, b, begun); err != nil {
				at.close()
				s.h.report("%s: the log of %v, with nothing wrong: %v", n.name, b, err)
				return errFound
			}
		}
		at.close()
	}
	return nil
}

// difference returns what one list has and the other one has not.
func difference(of, without []recorded) []recorded {
	return slices.DeleteFunc(slices.Clone(of), func(b recorded) bool { return slices.Contains(without, b) })
}

// fresh reports whether the log of a build was not asked for in an earlier round.
func (h *history) fresh(b recorded) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := h.logs[b]
	h.logs[b] = true
	return !seen
}
