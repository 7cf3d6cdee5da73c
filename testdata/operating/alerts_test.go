package operating_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/template"
	"sigs.k8s.io/yaml"
)

// monitoring is the folder of the rules.
var monitoring = filepath.Join("..", "..", "docs", "prometheus")

// metricNames are those that the product shows, as its source has them.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("..", "..", "caddy-module", "metrics.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for line := range strings.Lines(string(source)) {
		if rest, ok := strings.CutPrefix(line, "\t{\"caddy_build_token_"); ok {
			name, _, _ := strings.Cut(rest, "\"")
			names["caddy_build_token_"+name] = true
			if strings.HasSuffix(name, "_seconds") {
				for _, part := range []string{"_bucket", "_sum", "_count"} {
					names["caddy_build_token_"+name+part] = true
				}
			}
		}
	}
	if len(names) < 10 {
		t.Fatalf("found %d metrics in the source", len(names))
	}
	return names
}

// checkQuery parses a query and returns the metrics that it refers to and that do not exist.
func checkQuery(query string, exist map[string]bool) (unknown []string, err error) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return nil, err
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if s, ok := node.(*parser.VectorSelector); ok && !exist[s.Name] {
			unknown = append(unknown, s.Name)
		}
		return nil
	})
	return unknown, nil
}

func loadRules(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(monitoring, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	rules := map[string]rulefmt.Rule{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			rules[r.Alert] = r
		}
	}
	return rules
}

func TestRulesReferToMetricsThatExist(t *testing.T) {
	exist := metricNames(t)
	for name, r := range loadRules(t) {
		unknown, err := checkQuery(r.Expr, exist)
		if err != nil || len(unknown) > 0 {
			t.Errorf("%s: unknown %q, %v", name, unknown, err)
		}
	}
}

// TestEveryAlertIsDocumented compares the rules with the table of the document.
func TestEveryAlertIsDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "| `BuildToken"); ok {
			name, _, _ := strings.Cut(rest, "`")
			documented = append(documented, "BuildToken"+name)
		}
	}
	slices.Sort(documented)
	if got := slices.Sorted(maps.Keys(loadRules(t))); !slices.Equal(got, documented) {
		t.Errorf("alerts %q, documented are %q", got, documented)
	}
}

// ruleTests is what of `promtool test rules` alerts_test.yml uses.
type ruleTests struct {
	RuleFiles          []string `json:"rule_files"`
	EvaluationInterval string   `json:"evaluation_interval"`
	Tests              []struct {
		Name     string `json:"name"`
		Interval string `json:"interval"`
		Input    []struct {
			Series string `json:"series"`
			Values string `json:"values"`
		} `json:"input_series"`
		Alerts []struct {
			At    string `json:"eval_time"`
			Alert string `json:"alertname"`
			Want  []struct {
				Labels      map[string]string `json:"exp_labels"`
				Annotations map[string]string `json:"exp_annotations"`
			} `json:"exp_alerts"`
		} `json:"alert_rule_test"`
	} `json:"tests"`
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := model.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(d)
}

// TestRules evaluates the rules over recorded series, at each interval, as Prometheus does.
func TestRules(t *testing.T) {
	rules := loadRules(t)
	text, err := os.ReadFile(filepath.Join(monitoring, "alerts_test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file ruleTests
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		t.Fatal(err)
	}
	fired := map[string]bool{}
	for _, tt := range file.Tests {
		t.Run(tt.Name, func(t *testing.T) {
			interval := duration(t, tt.Interval)
			var store recorded
			for _, in := range tt.Input {
				series, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(in.Series + " " + in.Values)
				if err != nil {
					t.Fatalf("%s: %v", in.Series, err)
				}
				store.add(series, values, interval)
			}
			engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
			query := func(ctx context.Context, expr string, at time.Time) (promql.Vector, error) {
				q, err := engine.NewInstantQuery(ctx, &store, nil, expr, at)
				if err != nil {
					return nil, err
				}
				defer q.Close()
				return q.Exec(ctx).Vector()
			}
			for _, a := range tt.Alerts {
				rule, ok := rules[a.Alert]
				if !ok {
					t.Errorf("there is no alert %s", a.Alert)
					continue
				}
				since := map[string]time.Time{}
				var got []string
				end := time.Unix(0, 0).Add(duration(t, a.At))
				for at := time.Unix(0, 0); !at.After(end); at = at.Add(interval) {
					found, err := query(t.Context(), rule.Expr, at)
					if err != nil {
						t.Fatalf("%s: %v", a.Alert, err)
					}
					active := map[string]time.Time{}
					got = nil
					for _, sample := range found {
						own := labels.NewBuilder(sample.Metric).Del(labels.MetricName).Labels()
						active[own.String()] = at
						if first, ok := since[own.String()]; ok {
							active[own.String()] = first
						}
						if at.Sub(active[own.String()]) >= time.Duration(rule.For) {
							got = append(got, alert(t, rule, own, sample.F, at, query))
						}
					}
					since = active
				}
				var want []string
				for _, w := range a.Want {
					want = append(want, fmt.Sprintf("%v %v", w.Labels, w.Annotations))
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("%s at %s:\ngot  %q\nwant %q", a.Alert, a.At, got, want)
				}
				fired[a.Alert] = fired[a.Alert] || len(want) > 0
			}
		})
	}
	for name := range rules {
		if !fired[name] {
			t.Errorf("no test raises %s", name)
		}
	}
}

// alert is how a firing alert looks.
func alert(t *testing.T, rule rulefmt.Rule, own labels.Labels, value float64, at time.Time,
	query func(context.Context, string, time.Time) (promql.Vector, error),
) string {
	t.Helper()
	shown := own.Map()
	annotations := map[string]string{}
	defs := "{{$labels := .Labels}}{{$value := .Value}}"
	for name, text := range rule.Annotations {
		data := template.AlertTemplateData(shown, nil, "", promql.Sample{F: value})
		e := template.NewTemplateExpander(t.Context(), defs+text, "alert", data, model.TimeFromUnixNano(at.UnixNano()), template.QueryFunc(query), &url.URL{}, nil)
		expanded, err := e.Expand()
		if err != nil {
			t.Errorf("%s: annotation %s: %v", rule.Alert, name, err)
		}
		annotations[name] = expanded
	}
	for name, text := range rule.Labels {
		shown[name] = text
	}
	return fmt.Sprintf("%v %v", shown, annotations)
}
