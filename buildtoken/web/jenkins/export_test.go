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
	inner := object{{"_class", "B"}, {"n", 1}, {"s", "é\"\\\n\u2028\x01"}, {"b", true}, {"z", nil}}
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
	return encoded(s.prune(context.Background(), whole), f, false), nil
}
