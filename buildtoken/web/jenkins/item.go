package jenkins

import (
	"net/http"

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
		return web.ErrForbidden
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
		r.redirect(r.Root() + "queue/")
	default:
		r.W.WriteHeader(success)
	}
	return nil
}
