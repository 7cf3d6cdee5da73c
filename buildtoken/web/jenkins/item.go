package jenkins

import (
	"net/http"
	"strconv"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// serveItem serves one item. An item that the caller may not read looks like one that
// is not there.
func (r *reader) serveItem(id string, rest web.Path) error {
	if rest.Is("cancelQueue") {
		if err := r.mutating(); err != nil {
			return err
		}
		return r.cancelItem(id, http.StatusFound)
	}
	ctl, err := r.Controller()
	if err != nil {
		return err
	}
	entry, err := r.Entry(ctl, id)
	switch {
	case err == nil && r.MayRead(entry.Item.Job):
	case !r.MayReadSome(""):
		return r.itemByToken(ctl, entry, rest)
	case err == nil:
		return web.ErrNotFound
	default:
		return err
	}
	switch {
	case rest.Len() == 0:
		return r.page("Queue item exists. For details check, for example, " + web.ItemURL(r.Root(), entry.Item.ID) +
			"api/json?tree=cancelled,executable[url]\n")
	case rest.At(0) == "api":
		return r.export(rest, func(v *view) object { return v.item(entry) })
	}
	return web.ErrNotFound
}

// itemByToken answers a client that has followed the redirect of its trigger. Such clients
// send the headers again, and with them the token.
func (r *reader) itemByToken(ctl *buildtoken.Controller, entry queue.Entry, rest web.Path) error {
	by := r.Caller()
	by.Secret, by.Presented = web.HeaderToken(r.R.Header, by.User != "")
	if !by.Presented || rest.Len() > 0 {
		return web.ErrForbidden
	}
	// Without an item the job is "", which no token opens: the answer is the same.
	_, opened, err := ctl.Opens(r.R.Context(), r.Definition, entry.Item.Job, by, token.Trigger)
	if err != nil {
		return web.ErrForbidden
	}
	text := "queued as item " + strconv.FormatInt(entry.Item.ID, 10)
	if opened.Grants.Has(token.Status) {
		text += ", " + web.State(entry)
		switch why := web.WhyNow(time.Now(), entry, ""); {
		case why != "":
			text += ": " + why
		case entry.Build != nil:
			text += " as build " + strconv.FormatInt(entry.Build.Number, 10)
			if !entry.Build.Running() {
				text += ": " + string(entry.Build.Result)
			}
		}
	}
	return r.page(text + "\n")
}

// cancelItem takes an item out of the queue, and answers with the status that clients of
// the endpoint take for success.
func (r *reader) cancelItem(id string, success int) error {
	ctl, err := r.Controller()
	if err != nil {
		return err
	}
	entry, err := r.Entry(ctl, id)
	switch {
	case err == nil && r.mayStop(entry.Item.Job):
		err = r.Cancel(ctl, entry.Item.Job, entry.Item.ID, r.Who())
	case err == nil && r.MayRead(entry.Item.Job):
		err = r.RefuseCancel(ctl, entry.Item.Job, entry.Item.ID)
	case !r.mayStop("") && !r.MayReadSome(""):
		err = web.ErrForbidden
	case err == nil: // a caller who may not read it gets the answer to one that does not exist
		err = web.ErrNotFound
	}
	switch {
	case err != nil:
		return err
	case success == http.StatusFound:
		return r.redirect(r.Root() + "queue/")
	}
	r.W.WriteHeader(success)
	return nil
}
