package main

import (
	"bytes"
	"context"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// setBackClient triggers builds, sends triggers again with their keys, and looks at builds.
type setBackClient struct {
	s *setBacks
	d dice
}

func (c *setBackClient) live(ctx context.Context) {
	for pause(ctx, c.d.mostlyShort(700*time.Millisecond)) {
		n := pick(c.d, c.s.members)
		at := newClient(n.site)
		switch chance := c.d.IntN(100); {
		case chance < 65:
			c.trigger(ctx, at)
		case chance < 75:
			if t := c.s.h.some(c.d); t != nil {
				c.send(ctx, at, t)
			}
		default:
			_, _ = c.s.look(ctx, at, 20) // the server, or its database, may be gone
		}
		at.close()
	}
}

// some returns a trigger with a key that was sent lately; nil if there is none.
func (h *history) some(d dice) *told {
	h.mu.Lock()
	defer h.mu.Unlock()
	const lately = 100
	if len(h.order) == 0 {
		return nil
	}
	t := h.order[len(h.order)-1-d.IntN(min(lately, len(h.order)))]
	if t.key == "" {
		return nil
	}
	return t
}

// trigger sends a trigger that no other one is equal to.
func (c *setBackClient) trigger(ctx context.Context, at *client) {
	job := pick(c.d, []string{"alone/a", "alone/a", "alone/b", "wide/a", "wide/a", "wide/b", "slow/alone", "slow/wide"})
	if strings.HasPrefix(job, "slow/") && c.d.chance(50) {
		return
	}
	id := fmt.Sprintf("i%d", c.s.next.Add(1))
	key := ""
	if c.d.chance(50) {
		key = "key of " + id
	}
	c.send(ctx, at, c.s.h.send(id, job, key))
}

// send sends a trigger, maybe not for the first time.
func (c *setBackClient) send(ctx context.Context, at *client, t *told) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	err := form.WriteField("ID", t.id)
	if err == nil {
		file, _ := form.CreateFormFile("FILE", "file") // an error shows in the next line
		_, err = file.Write([]byte(t.id))
	}
	if err == nil {
		err = form.Close()
	}
	must(err) // a buffer takes everything
	query := url.Values{"job": {t.job}}.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+at.site.address+"/buildByToken/buildWithParameters?"+query, &body)
	must(err)
	r.Header.Set("Content-Type", form.FormDataContentType())
	r.Header.Set("Authorization", "Bearer "+secret)
	if t.key != "" {
		r.Header.Set("Idempotency-Key", `"`+t.key+`"`)
	}
	sent := now()
	got, err := at.do(at.triggers, r)
	answer := now()
	c.s.h.over(t, answer)
	switch {
	case err != nil:
		c.s.h.count(func(c *backCounts) { c.unknown++ })
	case got.status == http.StatusCreated || got.status == http.StatusSeeOther:
		item, err := strconv.ParseInt(path.Base(got.location), 10, 64)
		if err != nil {
			c.s.h.report("trigger %s: Location %q", t.id, got.location)
			return
		}
		c.s.h.answered(t, acknowledged{item: item, sent: sent, answer: answer})
	case got.status == http.StatusServiceUnavailable:
		c.s.h.count(func(c *backCounts) { c.refused++ })
	default:
		c.s.h.report("trigger %s of %s: %d %.300s", t.id, t.job, got.status, got.body)
	}
}
