package web

import (
	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Entry finds an item of the site by the text of its id.
func (q *Request) Entry(ctl *buildtoken.Controller, id string) (queue.Entry, error) {
	n, ok := Number(id)
	if !ok {
		return queue.Entry{}, ErrNotFound
	}
	return ctl.Entry(q.R.Context(), q.Definition, n)
}
