package pages

import (
	"strconv"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// executorRow is what one executor does.
type executorRow struct {
	Number int
	Busy   bool
	// Build is empty if the executor is idle, or builds what the caller may not see.
	Build, URL string
	State      mark
	Started    time.Time
}

// executorsView is the region with executors.
type executorsView struct {
	Executors    []executorRow
	ShuttingDown bool
}

// executors is the page of the executors of this server.
func (v *visit) executors() (*page, error) {
	if !v.MayReadSome("") {
		return nil, web.ErrForbidden
	}
	view := executorsView{ShuttingDown: v.ctl.ShuttingDown()}
	var rows []executorRow
	busy := 0
	for range v.ctl.Executors() {
		rows = append(rows, executorRow{})
	}
	for _, b := range v.ctl.Running() {
		busy++
		row := v.executorRow(b)
		if at := b.Executor; at < len(rows) && !rows[at].Busy {
			rows[at] = row
			continue
		}
		rows = append(rows, row) // there were more executors when it was started
	}
	for i := range rows {
		rows[i].Number = i + 1
	}
	view.Executors = rows
	return &page{
		Title: "Executors", Name: "executors", Here: "executors", path: "computer/",
		Say:     plural(busy, "executor is busy", "executors are busy"),
		Regions: []region{{Name: "executors", Data: view}},
	}, nil
}

func (v *visit) executorRow(b queue.Build) executorRow {
	row := executorRow{Busy: true, State: buildMark(b), Started: b.Started}
	if _, ours := v.Definition.Job(b.Item.Job); ours && v.MayRead(b.Item.Job) {
		row.Build = web.Displayed(b.Item.Job) + " #" + strconv.FormatInt(b.Number, 10)
		row.URL = web.BuildURL(v.base, b.Item.Job, b.Number)
	}
	return row
}
