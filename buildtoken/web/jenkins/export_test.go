package jenkins

import (
	"context"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Color returns the color of a job in Jenkins' words.
func Color(l queue.Lane) string { return color(&job.Job{}, l) }

// Prune applies a tree parameter to a sample value of objects, and returns the result.
func Prune(tree string, python bool) (string, error) {
	s, err := parseTree(tree)
	if err != nil {
		return "", err
	}
	inner := object{{"_class", "B"}, {"n", 1}, {"s", "é\"\\\n\r\t ~\x01\x1f\x7f\u2028\u2029\xff"}, {"b", true}, {"z", nil}}
	whole := object{
		{"_class", "A"},
		{"list", []any{link{brief: inner[:2], full: func() object { return inner }}, inner, inner}},
		{"texts", []string{"x", "y", "z"}},
		{"hidden", onDemand(func() any { return []any{inner} })},
		{"one", inner},
		{"number", int64(7)},
	}
	f := flavourJSON
	if python {
		f = flavourPython
	}
	p := pruner{ctx: context.Background(), grow: func(int) error { return nil }}
	return encoded(s.prune(&p, whole), f, false), p.err
}

// PruneMany applies a tree parameter to a list of n jobs with a hundred builds each, and returns the error. grow
// is called for what is kept, in bytes.
func PruneMany(ctx context.Context, tree string, n int, grow func(n int) error) error {
	s, err := parseTree(tree)
	if err != nil {
		return err
	}
	build := object{{"_class", classBuild}, {"number", int64(7)}, {"url", "https://ci.example.com/job/a/7/"}, {"result", nil}, {"timestamp", 0}, {"duration", 0}}
	of := make([]any, n)
	for i := range of {
		of[i] = link{full: func() object {
			builds := make([]any, maxBuilds)
			for i := range builds {
				builds[i] = build
			}
			return object{{"_class", classJob}, {"builds", builds}}
		}}
	}
	p := pruner{ctx: ctx, grow: grow}
	s.prune(&p, object{{"jobs", of}})
	return p.err
}

// Health returns the health report of a job after builds with these results, the newest first.
func Health(results ...queue.Result) string {
	builds := make([]queue.Build, len(results))
	for i, r := range results {
		builds[i].Result = r
	}
	return encoded(health(builds), flavourJSON, false)
}

// Causes returns the causes of an item.
func Causes(it queue.Item) string { return encoded(causes(it), flavourJSON, false) }
