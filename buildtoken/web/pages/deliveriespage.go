package pages

import (
	"slices"
	"strconv"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/deliveries"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// deliveryRow is a webhook delivery in the list.
type deliveryRow struct {
	deliveries.Delivery

	// Base is the path of the root.
	Base    string
	Headers []headerRow
	// Text is the body, as far as it is kept and has no secret.
	Text string
	// Replay is where the form to play it again goes; "" if the caller may not, or the
	// body is gone.
	Replay string
}

type headerRow struct{ Name, Value string }

// deliveries is the page of the last webhook deliveries. They can be about any job, so it is for
// callers who may read all.
func (v *visit) deliveries() (*page, error) {
	if !v.seesDeliveries() {
		return nil, web.ErrForbidden
	}
	var rows []deliveryRow
	for _, d := range v.ctl.Deliveries().List() {
		jobs, err := v.Definition.Hooked(d.Target)
		if err != nil || !slices.ContainsFunc(jobs, func(j *definition.Compiled) bool { return j.TakesFrom(d.Signers) }) {
			continue // of another site
		}
		d.Jobs = slices.DeleteFunc(slices.Clone(d.Jobs), func(j deliveries.Job) bool { return !v.Definition.Has(j.Job) })
		row := deliveryRow{Delivery: d, Base: v.base}
		if !d.Concealed {
			row.Text = strings.ToValidUTF8(string(d.Body), "\uFFFD")
		}
		for _, name := range d.HeaderNames() {
			row.Headers = append(row.Headers, headerRow{name, d.Header[name][0]})
		}
		if v.mayReplay(d, jobs) {
			row.Replay = v.base + "queue/deliveries/" + strconv.FormatInt(d.ID, 10) + "/replayForm"
		}
		rows = append(rows, row)
	}
	return &page{
		Title: "Webhook deliveries", Name: "deliveries", Here: "queue", path: "queue/deliveries/",
		Crumbs:  []link{{"Queue", v.base + "queue/"}, {"Webhook deliveries", v.base + "queue/deliveries/"}},
		Regions: []region{{Name: "deliveries", Data: rows, Static: true}},
	}, nil
}

// seesDeliveries reports whether the site takes webhooks, and the caller may read all of its jobs.
func (v *visit) seesDeliveries() bool {
	if _, err := v.Definition.Hooked(""); err != nil {
		return false
	}
	return v.MayRead("") && len(v.Readable("")) == len(v.Definition.Tree().Jobs())
}

// mayReplay reports whether the caller may play a delivery again for these jobs.
func (v *visit) mayReplay(d deliveries.Delivery, jobs []*definition.Compiled) bool {
	if len(d.Webhooks) == 0 || int64(len(d.Body)) != d.Size {
		return false
	}
	for _, j := range jobs {
		if !v.May(definition.Start, j.FullName) {
			return false
		}
	}
	return true
}
