package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// lookout reads what the server shows and passes it to the model. An error means that the
// server gave no answer, or the wrong one.
type lookout struct {
	*client
	m      *model
	ledger *ledger
}

// everything reads everything that must exist: first the queue, then what left it. So an item
// that is in neither is lost.
func (l lookout) everything(ctx context.Context, d dice) error {
	// The server must know what is in the ledger now.
	if err := l.ledger.read(l.m); err != nil {
		return err
	}
	if err := l.queue(ctx); err != nil {
		return err
	}
	for _, j := range l.m.all {
		if err := l.builds(ctx, j, keepBuilds/2); err != nil {
			return err
		}
	}
	for _, id := range l.m.unaccounted(d) {
		if err := l.item(ctx, id); err != nil {
			return err
		}
	}
	read := now()
	if err := l.ledger.read(l.m); err != nil {
		return err
	}
	l.m.settle(read)
	l.m.count(func(c *counts) { c.looks++ })
	return nil
}

// sample is how many items are read again although they can no longer change.
const sample = 10

// unaccounted reads the items that no list has shown lately.
func (m *model) unaccounted(d dice) []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all, settled []int64
	for _, id := range m.order {
		it := m.items[id]
		switch {
		case it.dropped, it.seen == m.sweep:
		case it.settled, it.fate == cancelled && it.looks > 1:
			// It does not change until it is dropped; a sample verifies that.
			settled = append(settled, id)
		default:
			all = append(all, id)
		}
	}
	m.sweep++
	for range min(sample, len(settled)) {
		all = append(all, pick(d, settled))
	}
	return all
}

func (l lookout) queue(ctx context.Context) error {
	asked := now()
	var q queueJSON
	if err := l.get(ctx, "/queue/api/json", &q); err != nil {
		return err
	}
	for _, j := range q.Items {
		l.m.queueShown(j, asked)
	}
	return nil
}

// builds reads the newest builds of a job.
func (l lookout) builds(ctx context.Context, j *job, limit int) error {
	tree := fmt.Sprintf("nextBuildNumber,allBuilds[%s]{0,%d}", buildsTree, limit)
	asked, before := now(), l.m.lastNumber(j.name)
	var shown jobJSON
	if err := l.get(ctx, j.path()+"/api/json?tree="+url.QueryEscape(tree), &shown); err != nil {
		return err
	}
	l.m.nextShown(j.name, shown.NextBuildNumber, before)
	for _, b := range shown.AllBuilds {
		l.m.buildShown(j.name, b, asked)
	}
	return nil
}

// item reads one item, and its build if it has one.
func (l lookout) item(ctx context.Context, id int64) error {
	asked := now()
	var shown itemJSON
	err := l.get(ctx, "/queue/item/"+strconv.FormatInt(id, 10)+"/api/json", &shown)
	if status, ok := errors.AsType[*statusError](err); ok && status.status == http.StatusNotFound {
		return l.missing(ctx, id)
	}
	if err != nil {
		return err
	}
	l.m.queueShown(shown, asked)
	if shown.Executable == nil {
		return nil
	}
	name := jobOfURL(shown.Task.URL)
	at := (&job{name: name}).path() + "/" + strconv.FormatInt(shown.Executable.Number, 10)
	asked = now()
	var b buildJSON
	err = l.get(ctx, at+"/api/json?tree="+url.QueryEscape(buildsTree), &b)
	if status, ok := errors.AsType[*statusError](err); ok && status.status == http.StatusNotFound {
		return l.missing(ctx, id)
	}
	if err != nil {
		return err
	}
	l.m.buildShown(name, b, asked)
	return nil
}

// missing reads the last number of the job before it reports that the item is gone.
func (l lookout) missing(ctx context.Context, id int64) error {
	name := l.m.jobOf(id)
	before := l.m.lastNumber(name)
	var shown jobJSON
	if err := l.get(ctx, (&job{name: name}).path()+"/api/json?tree=nextBuildNumber", &shown); err != nil {
		return err
	}
	l.m.nextShown(name, shown.NextBuildNumber, before)
	l.m.missing(id)
	return nil
}

func (m *model) jobOf(id int64) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.items[id].lane.name
}

// status reads an item as the holder of a token.
func (l lookout) status(ctx context.Context, of *job, id int64) error {
	asked := now()
	var shown statusJSON
	at := "/buildByToken/status?" + url.Values{"job": {of.name}, "token": {secret}, "item": {strconv.FormatInt(id, 10)}}.Encode()
	err := l.get(ctx, at, &shown)
	if status, ok := errors.AsType[*statusError](err); ok && status.status == http.StatusNotFound {
		return l.missing(ctx, id)
	}
	if err != nil {
		return err
	}
	l.m.statusShown(id, shown, asked)
	return nil
}

// console reads the log of a build that is known to have ended.
func (l lookout) console(ctx context.Context, of *job, number int64, result string) error {
	text, err := l.text(ctx, of.path()+"/"+strconv.FormatInt(number, 10)+"/consoleText")
	if _, ok := errors.AsType[*statusError](err); ok {
		return nil // dropped meanwhile, or lost before its log began
	}
	if err != nil {
		return err
	}
	l.m.consoleShown(of, number, result, text)
	return nil
}
