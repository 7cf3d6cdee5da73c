package hooks

import (
	"cmp"
	"context"
	"errors"
	"io"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// candidate is a webhook whose headers the delivery has.
type candidate struct {
	*hook.Check

	webhook *definition.Webhook
}

// verify reads the body and returns the webhooks that signed it, at least one. The caller must
// close the body, if there is one, also after an error.
func (d *delivery) verify() ([]*definition.Webhook, *web.Raw, error) {
	begun, refused := d.begin()
	limit := int64(0)
	for _, w := range d.candidates {
		limit = max(limit, w.MaxSize)
	}
	if len(begun) == 0 {
		d.W.LeaveBody()
	}
	switch {
	case len(begun) > 0:
	case d.isDiagnostic():
		d.ping = true
		return nil, nil, nil
	case !errors.Is(refused, hook.ErrUnsigned) && d.R.ContentLength > limit:
		return nil, nil, &web.TooLargeError{Limit: limit}
	default:
		return nil, nil, refused
	}
	limit = 0
	var hashes []io.Writer
	for _, c := range begun {
		limit = max(limit, c.webhook.MaxSize)
		if !c.SignsPayload() {
			hashes = append(hashes, c)
		}
	}
	raw, err := d.ReadRaw(limit, io.MultiWriter(hashes...))
	d.size = raw.Size
	if err != nil {
		return nil, raw, err //nolint:wrapcheck // as the verdict wants it
	}
	if err := d.addPayload(begun, raw); err != nil {
		return nil, raw, err
	}
	var verified []*definition.Webhook
	var tooLarge, wrong error
	for _, c := range begun {
		err := c.Finish()
		switch {
		case err != nil:
			wrong = err
		case raw.Size > c.webhook.MaxSize:
			tooLarge = &web.TooLargeError{Limit: c.webhook.MaxSize}
		default:
			verified = append(verified, c.webhook)
		}
	}
	if len(verified) == 0 {
		return nil, raw, cmp.Or(tooLarge, wrong)
	}
	return verified, raw, nil
}

// begin checks the headers for each webhook. The error is the most specific reason why none is left.
func (d *delivery) begin() (begun []candidate, refused error) {
	r := hook.Request{Header: d.header, Query: d.R.URL.Query()}
	for _, w := range d.candidates {
		check, err := w.Begin(d.Now, r)
		switch {
		case err == nil:
			begun = append(begun, candidate{check, w})
		case refused == nil || errors.Is(refused, hook.ErrUnsigned):
			refused = err
		}
	}
	return begun, refused
}

// isDiagnostic reports whether the delivery is the unsigned test of Bitbucket Data Center.
func (d *delivery) isDiagnostic() bool {
	for _, w := range d.candidates {
		if event.Diagnostic(w.Kind, d.header) {
			return true
		}
	}
	return false
}

// addPayload hands the JSON inside a form to the webhooks that sign only that.
func (d *delivery) addPayload(begun []candidate, raw *web.Raw) error {
	var payload []byte
	for _, c := range begun {
		if !c.SignsPayload() {
			continue
		}
		if payload == nil {
			done, err := d.ReserveParse(d.R.Context(), raw.Size)
			if err != nil {
				return err //nolint:wrapcheck // the verdict is that of the context
			}
			defer done()
			body, err := raw.Bytes()
			if err != nil {
				return err //nolint:wrapcheck // as the verdict wants it
			}
			if payload, err = event.Payload(d.header, body); err != nil {
				return hook.ErrMismatch // nothing was signed; any client can send a malformed form
			}
		}
		_, _ = c.Write(payload) // a hash never fails
	}
	return nil
}

// background returns the context in which a verified delivery is carried out.
func (d *delivery) background() context.Context { return context.WithoutCancel(d.R.Context()) }
