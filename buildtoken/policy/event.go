package policy

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/buildtoken/buildtoken/buildtoken/event"
)

// Delivery is all that the expressions of an `on` block see of a webhook delivery.
// [Expression] reads it and keeps nothing of it.
type Delivery struct {
	Job     Job
	User    string
	Now     time.Time
	Request Request
	Event   *event.Event // required
	// Body returns the parsed body, see [event.Body]. It is called when an
	// expression refers to the body, and may be called again for the next one.
	Body func() (any, error)
}

// maxEventCost is what one expression of an `on` block may cost by the estimate. It
// refuses to compare all files with all files. At run time, time is the limit.
const maxEventCost = 1_000_000_000

// The sizes that the estimate takes for granted in a delivery. A larger one may
// meet the limit at run time.
const (
	maxFiles = 100_000
	maxPath  = 256
)

// eventSizes bounds what an expression about a delivery works on.
type eventSizes struct{ sizes }

// EstimateSize implements [checker.CostEstimator].
func (s eventSizes) EstimateSize(n checker.AstNode) *checker.SizeEstimate {
	path := n.Path()
	switch {
	case slices.Equal(path, []string{"event", "files"}):
		return upTo(maxFiles)
	case len(path) > 2 && path[0] == "event":
		return upTo(maxPath)
	case len(path) > 0 && (path[0] == "event" || path[0] == "body"):
		return sizeOf(n.Type())
	}
	return s.sizes.EstimateSize(n)
}

// eventVariables returns the declarations that go with [deliveryActivation].
func eventVariables() []cel.EnvOption {
	return []cel.EnvOption{
		cel.Variable("user", cel.StringType),
		cel.Variable("job", jobType()),
		cel.Variable("request", requestType()),
		cel.Variable("now", cel.TimestampType),
		cel.Variable("event", eventType()),
		cel.Variable("body", cel.DynType),
	}
}

// deliveryActivation hands a [Delivery] to CEL.
type deliveryActivation struct {
	in   *Delivery
	made made
}

// ResolveName implements [cel.Activation].
func (a *deliveryActivation) ResolveName(name string) (any, bool) {
	switch name {
	case "event":
		return a.in.Event, true
	case "body":
		body, err := a.in.Body()
		if err != nil {
			return types.WrapErr(err), true
		}
		return body, true
	case "job":
		return &a.in.Job, true
	case "request":
		return &a.in.Request, true
	case "user":
		return types.String(a.in.User), true
	case "now":
		return types.Timestamp{Time: a.in.Now.UTC()}, true
	case madeName:
		return &a.made, true
	}
	return nil, false
}

// Parent implements [cel.Activation].
func (a *deliveryActivation) Parent() cel.Activation { return nil }

// eventFields are the fields of `event`.
func eventFields() map[string]*types.FieldType {
	type e = event.Event
	flag := func(get func(*e) bool) *types.FieldType {
		return field(cel.BoolType, func(v *e) any { return types.Bool(get(v)) }, get)
	}
	return map[string]*types.FieldType{
		"kind":           text(func(v *e) string { return string(v.Kind) }),
		"name":           text(func(v *e) string { return v.Name }),
		"action":         text(func(v *e) string { return v.Action }),
		"id":             text(func(v *e) string { return v.ID }),
		"repo":           text(func(v *e) string { return v.Repo }),
		"ref":            text(func(v *e) string { return v.Ref }),
		"branch":         text(func(v *e) string { return v.Branch }),
		"tag":            text(func(v *e) string { return v.Tag }),
		"sha":            text(func(v *e) string { return v.SHA }),
		"before":         text(func(v *e) string { return v.Before }),
		"sender":         text(func(v *e) string { return v.Sender }),
		"message":        text(func(v *e) string { return v.Message }),
		"title":          text(func(v *e) string { return v.Title }),
		"url":            text(func(v *e) string { return v.URL }),
		"default_branch": text(func(v *e) string { return v.DefaultBranch }),
		"created":        flag(func(v *e) bool { return v.Created }),
		"deleted":        flag(func(v *e) bool { return v.Deleted }),
		"fork":           flag(func(v *e) bool { return v.Fork }),
		"files_complete": flag(func(v *e) bool { return v.FilesComplete }),
		"files": field(cel.ListType(cel.StringType),
			func(v *e) any { return v.Files },
			func(v *e) bool { return len(v.Files) > 0 }),
		"number": field(cel.IntType,
			func(v *e) any { return types.Int(v.Number) },
			func(v *e) bool { return v.Number != 0 }),
	}
}

// number is a number of JSON: an integer as long as that holds it.
func number(n json.Number) ref.Val {
	if i, err := n.Int64(); err == nil {
		return types.Int(i)
	}
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil {
		return types.NewErr("a number of the body is too large")
	}
	return types.Double(f)
}

var (
	_ cel.Activation        = (*deliveryActivation)(nil)
	_ checker.CostEstimator = eventSizes{}
)
