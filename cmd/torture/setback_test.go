package main

import (
	"strings"
	"testing"
	"time"
)

// TestSetBackModelFinds plays a history of three servers in which all is well, with one fault
// planted, and looks whether the model finds it. Trigger x of job alone/a was answered at 1
// with item 1, and built from 2 to 4 on n1. Trigger y has the same job.
func TestSetBackModelFinds(t *testing.T) {
	_, want := fateOf("alone/a", "x")
	other := map[string]string{"SUCCESS": "FAILURE", "FAILURE": "SUCCESS"}[want]
	// y is another trigger with the same result, so that only its identity differs.
	y := "y"
	for _, result := fateOf("alone/a", y); result != want; _, result = fateOf("alone/a", y) {
		y += "y"
	}
	record := recorded{id: "x", job: "alone/a", number: 1, item: 1, node: "n1", result: want}
	logOf := func(id, result string, number int) string {
		return strings.NewReplacer("X", id, "R", result, "N", string(rune('0'+number))).Replace(
			"Started by somebody\nmine is X, item N, number N\nmine is X, item N, number N\ndone with X\nFinished: R\n")
	}
	type plot struct {
		h *history
		f *fates
	}
	writes := func(p *plot, pid int, id string, number int64, node, what string, seconds float64) {
		p.h.wrote(sign{What: what, At: at(seconds), ID: id, Job: "alone/a", Item: number, Number: number, Node: node, Life: node + "/1", PID: pid})
	}
	runs := func(p *plot, pid int, id string, number int64, node string, from, to float64) {
		writes(p, pid, id, number, node, "start", from)
		writes(p, pid, id, number, node, "end", to)
	}
	goesBack := func(p *plot, saved, from, to float64) {
		p.h.backs = append(p.h.backs, setBack{at(saved), at(from), at(to)})
	}
	for _, tt := range []struct {
		name  string
		plant func(*plot)
		want  string // a part of what is found; empty: nothing is
	}{
		{"nothing where nothing is wrong", func(p *plot) {
			p.h.shown(record)
			p.h.logged(record, logOf("x", want, 1), true)
			p.h.settled([]recorded{record}, at(100))
		}, ""},
		{"the result of another build", func(p *plot) {
			record := record
			record.result = other
			p.h.shown(record)
		}, "is on record, want " + want},
		{"a result of a build that never ran", func(p *plot) {
			record := record
			record.id, record.item, record.number = y, 2, 2
			p.h.shown(record)
		}, "no such build came to its end"},
		{"a result of a build that ran on another server", func(p *plot) {
			record := record
			record.node = "n2"
			p.h.shown(record)
		}, "no such build came to its end"},
		{"the log of another build", func(p *plot) { p.h.logged(record, logOf(y, want, 1), true) }, "is that of another build"},
		{"a log of another build, while the database may go back", func(p *plot) { p.h.logged(record, logOf(y, want, 1), false) }, ""},
		{"a log of two builds", func(p *plot) { p.h.logged(record, logOf("x", want, 1)+logOf(y, want, 1), false) }, "mixes builds"},
		{"a log with another result than its build", func(p *plot) { p.h.logged(record, logOf("x", other, 1), false) }, "has another result than its build"},
		{"a log that is not whole", func(p *plot) { p.h.logged(record, "Finished: "+want+"\n", true) }, "is not whole"},
		{"an upload of another trigger", func(p *plot) {
			writes(p, 2, y, 2, "n1", "start", 5)
			writes(p, 2, y, 2, "n1", "file", 5)
		}, "found the file of another trigger"},
		{"an answer that is lost", func(p *plot) { p.h.settled(nil, at(100)) }, "was answered at"},
		{"an answer that is lost although the earlier state has it", func(p *plot) {
			goesBack(p, 5, 10, 11)
			p.h.settled(nil, at(100))
		}, "was answered at"},
		{"an answer that the earlier state has not", func(p *plot) {
			goesBack(p, 0.5, 10, 11)
			p.h.settled(nil, at(100))
		}, ""},
		{"an item that belongs to another trigger", func(p *plot) {
			record := record
			record.id = y
			p.h.settled([]recorded{record}, at(100))
		}, "was answered at"},
		{"an item with two builds", func(p *plot) {
			twice := record
			twice.number = 2
			p.h.settled([]recorded{record, twice}, at(100))
		}, "item 1 is"},
		{"an item that is built twice", func(p *plot) { runs(p, 2, "x", 2, "n2", 6, 7) }, "the database has not lost the first one"},
		{"an item that is built again, which the database has lost", func(p *plot) {
			goesBack(p, 1.5, 5, 5.5)
			runs(p, 2, "x", 1, "n2", 6, 7)
		}, ""},
		{"an item that is built again although the earlier state has its build", func(p *plot) {
			goesBack(p, 3, 5, 5.5)
			runs(p, 2, "x", 1, "n2", 6, 7)
		}, "the database has not lost the first one"},
		{"two builds of a job that is not concurrent", func(p *plot) {
			writes(p, 2, y, 2, "n1", "start", 5)
			writes(p, 3, "z", 3, "n2", "start", 6)
			writes(p, 2, y, 2, "n1", "alive", 7)
		}, "was still there at"},
		{"two builds of such a job, of which one had a server that was killed", func(p *plot) {
			writes(p, 2, y, 2, "n1", "start", 5)
			p.h.killed["n1/1"] = at(5.5)
			writes(p, 3, "z", 3, "n2", "start", 6)
			writes(p, 2, y, 2, "n1", "alive", 7)
		}, ""},
		{"two builds of such a job, of which one had a server that was suspended past its lease", func(p *plot) {
			writes(p, 2, y, 2, "n1", "start", 5)
			p.f.was(paused, "n1", 5.5, lasting)
			writes(p, 3, "z", 3, "n2", "start", 19)
			writes(p, 2, y, 2, "n1", "alive", 20)
		}, ""},
		{"a build that is not stopped although the database has lost it", func(p *plot) {
			goesBack(p, 4.5, 6, 6.5)
			writes(p, 2, y, 2, "n1", "start", 5)
			writes(p, 2, y, 2, "n1", "alive", 30)
			p.h.settled([]recorded{record}, at(100))
		}, "and was not stopped"},
		{"a build that is stopped because the database has lost it", func(p *plot) {
			goesBack(p, 4.5, 6, 6.5)
			writes(p, 2, y, 2, "n1", "start", 5)
			writes(p, 2, y, 2, "n1", "alive", 8)
			p.h.settled([]recorded{record}, at(100))
		}, ""},
		{"a key that leads to two items", func(p *plot) {
			p.h.answered(p.h.sent["x"], acknowledged{item: 9, sent: at(5), answer: at(6)})
		}, "sent again"},
		{"a key that the database has lost", func(p *plot) {
			goesBack(p, 0.5, 3, 4)
			p.h.answered(p.h.sent["x"], acknowledged{item: 9, sent: at(5), answer: at(6)})
		}, ""},
		{"an end that is lost, with nothing set back", func(p *plot) {
			record := record
			record.result, record.reason = "ABORTED", "lost: the database was set back"
			p.h.shown(record)
		}, "the database was not set back since its start"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := three()
			p := &plot{newHistory(f, map[string]bool{"alone/a": false}, "", func() {}), f}
			for _, id := range []string{"x", y, "z"} {
				p.h.send(id, "alone/a", "key of "+id)
			}
			p.h.answered(p.h.sent["x"], acknowledged{item: 1, sent: at(0), answer: at(1)})
			runs(p, 1, "x", 1, "n1", 2, 4)
			tt.plant(p)
			switch found := strings.Join(p.h.found, "\n"); {
			case tt.want == "" && found != "":
				t.Errorf("found %s", found)
			case !strings.Contains(found, tt.want):
				t.Errorf("found %q, want %q", found, tt.want)
			}
		})
	}
}

func TestFateFollowsFromTheID(t *testing.T) {
	results := map[string]int{}
	for _, id := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
		work, result := fateOf("slow/wide", id)
		again, same := fateOf("slow/wide", id)
		if work != again || result != same || work < 4*time.Second {
			t.Errorf("fateOf(%q) = %v, %s and %v, %s", id, work, result, again, same)
		}
		results[result]++
	}
	if results["SUCCESS"] == 0 || results["FAILURE"] == 0 {
		t.Errorf("results of 26 builds: %v, want both", results)
	}
}
