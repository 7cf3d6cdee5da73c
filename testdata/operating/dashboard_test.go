package operating_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// dashboard is what Grafana's JSON has that matters here.
type dashboard struct {
	UID        string `json:"uid"`
	Title      string `json:"title"`
	Templating struct {
		List []struct {
			Name       string `json:"name"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
	Panels []struct {
		ID      int    `json:"id"`
		Title   string `json:"title"`
		GridPos struct {
			X, Y, W, H int
		} `json:"gridPos"`
		Targets []struct {
			Expr string `json:"expr"`
		} `json:"targets"`
	} `json:"panels"`
}

func loadDashboard(t *testing.T) dashboard {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(monitoring, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" || len(d.Panels) == 0 {
		t.Fatalf("dashboard %+v", d)
	}
	return d
}

// TestDashboardQueriesMetricsThatExist parses each query as Grafana sends it, and compares
// its metrics with those of the product.
func TestDashboardQueriesMetricsThatExist(t *testing.T) {
	d, exist := loadDashboard(t), metricNames(t)
	variables := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*")
	for _, p := range d.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("panel %q has no query", p.Title)
		}
		for _, target := range p.Targets {
			query := variables.Replace(target.Expr)
			if strings.Contains(query, "$") {
				t.Errorf("panel %q uses a variable that is not defined: %s", p.Title, target.Expr)
			}
			unknown, err := checkQuery(query, exist)
			if err != nil || len(unknown) > 0 {
				t.Errorf("panel %q: %s: unknown %q, %v", p.Title, target.Expr, unknown, err)
			}
		}
	}
	for _, v := range d.Templating.List {
		inner, ok := strings.CutPrefix(v.Definition, "label_values(")
		if name, _, _ := strings.Cut(inner, ","); ok && !exist[name] {
			t.Errorf("variable %s: unknown %s", v.Name, name)
		}
	}
}

// TestPanelsDoNotOverlap checks the grid of 24 columns.
func TestPanelsDoNotOverlap(t *testing.T) {
	d := loadDashboard(t)
	var ids []int
	for i, a := range d.Panels {
		if slices.Contains(ids, a.ID) {
			t.Errorf("panel %q has the ID of another one", a.Title)
		}
		ids = append(ids, a.ID)
		if a.GridPos.X+a.GridPos.W > 24 || a.GridPos.W == 0 || a.GridPos.H == 0 {
			t.Errorf("panel %q does not fit: %+v", a.Title, a.GridPos)
		}
		for _, b := range d.Panels[:i] {
			if a.GridPos.X < b.GridPos.X+b.GridPos.W && b.GridPos.X < a.GridPos.X+a.GridPos.W &&
				a.GridPos.Y < b.GridPos.Y+b.GridPos.H && b.GridPos.Y < a.GridPos.Y+a.GridPos.H {
				t.Errorf("panels %q and %q overlap", a.Title, b.Title)
			}
		}
	}
}
