package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Expression is a compiled expression of an `on` block. It is immutable and safe
// for concurrent use.
type Expression struct {
	compiled compiled
	kind     types.Kind // of the result; that of the value in it for an optional one
}

// maxEventTime is how long one expression may take. Comparing each of 300 000
// paths, the most that 25 MB hold, with ten prefixes takes 0.8 s of a processor,
// which may be busy with other things.
const maxEventTime = 30 * time.Second

var errSlow = fmt.Errorf("it took longer than %v", maxEventTime)

// optionalTypeName is what CEL calls the type of an optional value.
const optionalTypeName = "optional_type"

// EventEnv is what the expressions of `on` blocks are compiled in: they see event, body,
// job, user, now and request. Make it once, as [Env].
type EventEnv struct{ env *Env }

// NewEventEnv returns the environment.
func NewEventEnv() (*EventEnv, error) {
	env, err := newEnvWith(eventVariables(), eventSizes{}, maxEventCost)
	if err != nil {
		return nil, err
	}
	env.untracked = true
	return &EventEnv{env}, nil
}

// Condition compiles an expression whose result is bool, or is known only at run
// time. The error wraps [ErrBadRule].
func (e *EventEnv) Condition(r Rule) (*Expression, error) {
	return e.compile(r, "bool", types.BoolKind, types.DynKind)
}

// Value compiles an expression whose result can be the value of a parameter. The
// error wraps [ErrBadRule].
func (e *EventEnv) Value(r Rule) (*Expression, error) {
	return e.compile(r, "a value that has a text", types.StringKind, types.BoolKind, types.IntKind, types.UintKind, types.DoubleKind,
		types.NullTypeKind, types.ListKind, types.MapKind, types.TimestampKind, types.DurationKind, types.DynKind)
}

func (e *EventEnv) compile(r Rule, want string, kinds ...types.Kind) (*Expression, error) {
	checked, err := e.env.check(r.Source)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrBadRule, r.Name, err)
	}
	t := checked.OutputType()
	if t.Kind() == types.OpaqueKind && t.TypeName() == optionalTypeName && len(t.Parameters()) == 1 {
		t = t.Parameters()[0]
	}
	possible := false
	for _, k := range kinds {
		possible = possible || t.Kind() == k
	}
	if !possible {
		return nil, fmt.Errorf("%w: %s: the expression is of type %s, want %s%s",
			ErrBadRule, r.Name, cel.FormatCELType(checked.OutputType()), want, quoted(r.Source))
	}
	c, err := e.env.program(r, checked)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrBadRule, r.Name, err)
	}
	return &Expression{compiled: c, kind: t.Kind()}, nil
}

// Is reports whether the result can be of this kind, as far as it is known before
// there is a delivery.
func (x *Expression) Is(kinds ...types.Kind) bool {
	for _, k := range append(kinds, types.DynKind, types.NullTypeKind) {
		if x.kind == k {
			return true
		}
	}
	return false
}

// Holds evaluates a condition. An absent optional value is false. The error shows
// no value of the delivery.
func (x *Expression) Holds(ctx context.Context, in *Delivery) (bool, error) {
	out, err := x.run(ctx, in)
	if err != nil || out == nil {
		return false, err
	}
	holds, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("the result is of type %s, want bool", out.Type().TypeName())
	}
	return bool(holds), nil
}

// Text evaluates an expression and returns its result as the value of a parameter:
// strings, booleans and numbers as they are, lists and maps as JSON. ok is false if the
// result is null or absent. The error shows no value of the delivery.
func (x *Expression) Text(ctx context.Context, in *Delivery) (text string, ok bool, err error) {
	out, err := x.run(ctx, in)
	if err != nil || out == nil {
		return "", false, err
	}
	switch v := out.(type) {
	case types.String:
		return string(v), true, nil
	case types.Bool:
		return strconv.FormatBool(bool(v)), true, nil
	case types.Int:
		return strconv.FormatInt(int64(v), 10), true, nil
	case types.Uint:
		return strconv.FormatUint(uint64(v), 10), true, nil
	case types.Double:
		return strconv.FormatFloat(float64(v), 'f', -1, 64), true, nil
	case types.Duration:
		return v.String(), true, nil
	case types.Timestamp:
		return v.Format(time.RFC3339Nano), true, nil
	}
	left := maxResult
	plain, err := plain(out, &left)
	if err != nil {
		return "", false, err
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(plain); err != nil {
		return "", false, fmt.Errorf("the result cannot be written as JSON: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), true, nil
}

// run returns the result, nil if it is null or absent.
func (x *Expression) run(ctx context.Context, in *Delivery) (ref.Val, error) {
	if x.compiled.loops {
		limited, cancel := context.WithTimeoutCause(ctx, maxEventTime, errSlow)
		defer cancel()
		ctx = limited
	}
	out, err := x.compiled.run(ctx, &deliveryActivation{in: in}, nil)
	if err != nil {
		return nil, withoutValues(err, nil, x.compiled.rule.Source)
	}
	for {
		optional, ok := out.(*types.Optional)
		switch {
		case out == types.NullValue, ok && !optional.HasValue():
			return nil, nil //nolint:nilnil // as documented
		case !ok:
			return out, nil
		}
		out = optional.GetValue()
	}
}

// plain turns a value into what encoding/json writes. Integers stay integers. left is how many bytes
// the whole result may still have, about.
func plain(v ref.Val, left *int) (any, error) {
	text, _ := v.(types.String)
	if *left -= len(text) + 1; *left < 0 {
		return nil, fmt.Errorf("the result has more than %d bytes", maxResult)
	}
	switch v := v.(type) {
	case types.Null:
		return nil, nil //nolint:nilnil // nil is JSON's null
	case types.String:
		if !utf8.ValidString(string(v)) {
			return nil, fmt.Errorf("a text in the result is not valid UTF-8")
		}
		return string(v), nil
	case types.Bool:
		return bool(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		return uint64(v), nil
	case types.Double:
		return float64(v), nil
	case types.Timestamp:
		return v.Time, nil
	case types.Duration:
		return v.String(), nil
	case *types.Optional:
		if !v.HasValue() {
			return nil, nil //nolint:nilnil // nil is JSON's null
		}
		return plain(v.GetValue(), left)
	case traits.Mapper:
		m := map[string]any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			name, ok := key.(types.String)
			if !ok {
				return nil, fmt.Errorf("a key of a map in the result is of type %s, want string", key.Type().TypeName())
			}
			var err error
			*left -= len(name)
			if m[string(name)], err = plain(v.Get(key), left); err != nil {
				return nil, err
			}
		}
		return m, nil
	case traits.Lister:
		l := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			element, err := plain(it.Next(), left)
			if err != nil {
				return nil, err
			}
			l = append(l, element)
		}
		return l, nil
	}
	return nil, fmt.Errorf("the result is of type %s, which has no text", v.Type().TypeName())
}
