package audit_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/audit"
)

func at(n int) time.Time { return time.Unix(1_800_000_000, int64(n)) }

func everything() audit.Trigger {
	delay, cause := "5sec", ""
	return audit.Trigger{
		Time: at(1), Job: "site/deploy", Action: "buildWithParameters", Token: "ci", Place: "site/", User: "alice", Webhook: "hub", Operator: true,
		Remote: netip.MustParseAddr("192.0.2.7"), Post: true, Delay: &delay, Cause: &cause, Admitted: true, Check: "rule", Rule: "site allow 1",
		Params: []audit.Param{{Name: "ENV", Value: "staging"}, {Name: "EMPTY"}, {Name: "PASS", Hidden: true}, {Name: "PATCH", Value: "fix.patch", File: true}},
	}
}

func TestHistoryKeepsTheLastTriggersAsTheyWere(t *testing.T) {
	var h audit.History
	if all := h.All(); len(all) != 0 {
		t.Errorf("a new history has %d triggers", len(all))
	}
	full, v6 := everything(), everything()
	v6.Remote, v6.Delay, v6.Cause, v6.Params, v6.Admitted, v6.Post = netip.MustParseAddr("2001:db8::7"), nil, nil, nil, false, false
	for _, one := range []audit.Trigger{full, v6, {Time: at(0)}} {
		h.Add(&one)
	}
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff([]audit.Trigger{full, v6, {Time: at(0)}}, h.All(), same); diff != "" {
		t.Errorf("All (-want +got):\n%s", diff)
	}
	for n := range audit.Kept + 500 { // including shorter ones in the places of longer ones
		h.Add(&audit.Trigger{Time: at(n), Job: strings.Repeat("j", 1+n%50)})
	}
	all := h.All()
	if len(all) != 1000 || audit.Kept != 1000 || !all[0].Time.Equal(at(500)) || !all[audit.Kept-1].Time.Equal(at(audit.Kept+499)) {
		t.Errorf("All has %d triggers, from %v to %v", len(all), all[0].Time, all[len(all)-1].Time)
	}
	if got := all[7].Job; got != strings.Repeat("j", 1+507%50) {
		t.Errorf("the job of one is %q", got)
	}
}

func TestHistoryHidesPasswordsAndBoundsTheRest(t *testing.T) {
	var h audit.History
	one := audit.Trigger{Time: at(0), Job: strings.Repeat("j", 1<<20), Params: []audit.Param{{Name: "P", Value: "Hush77", Hidden: true}}}
	for n := range 1000 {
		one.Params = append(one.Params, audit.Param{Name: fmt.Sprint("N", n), Value: strings.Repeat("v", n)})
	}
	one.Params = append(one.Params, audit.Param{Name: "LONG", Value: strings.Repeat("v", 1<<20)})
	h.Add(&one)
	got := h.All()[0]
	if !got.Cut || len(got.Job) > 4<<10 {
		t.Errorf("Cut = %v, a job of %d bytes", got.Cut, len(got.Job))
	}
	size := 0
	for _, p := range got.Params {
		size += len(p.Name) + len(p.Value)
		if p.Hidden && p.Value != "" || strings.Contains(p.Value, "Hush77") {
			t.Errorf("a password is kept: %+v", p)
		}
	}
	if size > 16<<10 || !got.Params[0].Hidden {
		t.Errorf("%d bytes of parameters, the first is %+v", size, got.Params[0])
	}
}

// A text is kept up to 4 KiB, and parameters as long as a trigger takes no more than 16 KiB.
func TestHistoryBounds(t *testing.T) {
	const text = 4 << 10
	value := func(n int) audit.Param { return audit.Param{Name: "N", Value: strings.Repeat("v", n)} }
	for _, tt := range []struct {
		name   string
		params []audit.Param
		kept   int
	}{
		{"the longest value", []audit.Param{value(text)}, 1},
		{"one that is longer", []audit.Param{value(text + 1), value(1)}, 1},
		{"the longest name", []audit.Param{{Name: strings.Repeat("n", text)}}, 1},
		{"one that is longer", []audit.Param{{Name: strings.Repeat("n", text+1)}}, 0},
		{"a long password is not kept anyway", []audit.Param{{Name: "P", Value: strings.Repeat("v", text+1), Hidden: true}}, 1},
		{"what fits behind one that does not", []audit.Param{value(text), value(text), value(text), value(text), value(1)}, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var h audit.History
			h.Add(&audit.Trigger{Time: at(0), Params: tt.params})
			got := h.All()[0]
			if len(got.Params) != tt.kept || got.Cut != (tt.kept < len(tt.params)) {
				t.Errorf("%d of %d parameters are kept, Cut = %v, want %d", len(got.Params), len(tt.params), got.Cut, tt.kept)
			}
		})
	}
}

// Each trigger is kept in the memory of an earlier one.
func TestHistoryAllocatesNothing(t *testing.T) {
	var h audit.History
	one := everything()
	for range audit.Kept {
		h.Add(&one)
	}
	if n := testing.AllocsPerRun(100, func() { h.Add(&one) }); n != 0 {
		t.Errorf("Add allocates %v times", n)
	}
}

func BenchmarkHistory(b *testing.B) {
	var h audit.History
	one := everything()
	b.ReportAllocs()
	for b.Loop() {
		h.Add(&one)
	}
}
