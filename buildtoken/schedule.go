package buildtoken

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// schedule queues what a trigger asks for, which may be what one asked for
// that came before it.
func (c *Controller) schedule(ctx context.Context, now time.Time, j *definition.Compiled, t Trigger, opened token.Token, values []job.Value, delay time.Duration, cause queue.Cause) (Outcome, error) {
	out := Outcome{Job: j.FullName}
	r := queue.Request{Job: j.FullName, Digest: c.vault.Digest(values), Delay: delay, Cause: cause, Root: t.Root, Solo: j.Coalesce == job.Never}
	if t.Once != nil {
		once := c.vault.DigestIdempotencyKey(*t.Once, clientOf(t, opened)...)
		r.Key, r.AnyValues = &once, t.Webhook != ""
	}
	if err := c.storeFiles(ctx, &r, t, values); err != nil {
		c.uploads.remove(ctx, values, nil) // nothing refers to them yet
		return out, err
	}
	r.Values = c.vault.Seal(j.FullName, values)
	if hasFiles(r.Values) {
		// Who gives up the wait does not learn whether there is an item, which needs its files.
		ctx = context.WithoutCancel(ctx)
	}
	it, created, err := c.queue.Schedule(ctx, now, r)
	if errors.Is(err, queue.ErrClosed) {
		err = fmt.Errorf("%w: %w", ErrShuttingDown, err)
	}
	if err != nil {
		c.uploads.remove(ctx, values, err)
		var repeated *queue.RepeatedError
		if errors.As(err, &repeated) {
			first := repeated.Receipt
			out.Item, out.Created, out.Repeated = queue.Item{ID: first.Item, Job: j.FullName}, first.Created, true
			return out, nil
		}
		return out, fmt.Errorf("buildtoken: schedule %s: %w", j.FullName, err)
	}
	out.Item, out.Created = it, created
	return out, nil
}

// clientOf identifies the owner of an idempotency key: the webhook, the token
// that was shown, or else the user.
func clientOf(t Trigger, opened token.Token) []string {
	if t.Webhook != "" {
		return []string{"webhook", t.Webhook}
	}
	if t.Presented {
		return []string{"token", strconv.Itoa(opened.Level), opened.Name}
	}
	return []string{"user", t.User}
}

// storeFiles stores the content of files, and puts what it is called into the
// values. If the trigger may come again, it has to bring the same.
func (c *Controller) storeFiles(ctx context.Context, r *queue.Request, t Trigger, values []job.Value) error {
	var contents []byte // digests
	for i := range values {
		if values[i].Kind != job.KindFile {
			continue
		}
		// A file is never compared, so it never coalesces.
		r.Solo = true
		var sum hash.Hash
		var also io.Writer
		if r.Key != nil {
			sum = sha256.New()
			also = sum
		}
		ref, err := c.uploads.store(ctx, t.Files[values[i].Name], also)
		if err != nil {
			return err
		}
		values[i].Ref = ref
		if sum != nil {
			contents = sum.Sum(contents)
		}
	}
	if contents != nil {
		r.Digest = c.vault.DigestWithFiles(r.Digest, contents)
	}
	return nil
}
