package httprunner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

const (
	// maxExpression bounds an expression, in characters.
	maxExpression = 8192
	// maxCost bounds one evaluation, in CEL's units of about 50 ns.
	maxCost = 10_000_000
	// checkEvery is the number of rounds of a loop between two checks whether the context has ended.
	checkEvery = 100
)

type kind = types.Kind

const (
	boolResult kind = types.BoolKind
	textResult kind = types.StringKind
)

type environment struct{ env *cel.Env }

// newEnvironment returns the environment of expressions over status and body.
func newEnvironment() (environment, error) {
	env, err := cel.NewEnv(
		cel.Variable("status", cel.IntType), cel.Variable("body", cel.DynType),
		ext.Strings(), ext.Sets(), ext.Math(), ext.Encoders(), cel.OptionalTypes(),
		cel.DefaultUTCTimeZone(true), cel.ParserExpressionSizeLimit(maxExpression),
	)
	return environment{env}, err
}

type expression struct{ program cel.Program }

// compile compiles an expression whose result is of one of these kinds, or known only when it is evaluated.
func (e environment) compile(source string, kinds ...kind) (*expression, error) {
	if strings.TrimSpace(source) == "" {
		return nil, errors.New("the expression is missing")
	}
	checked, issues := e.env.Compile(source)
	if err := issues.Err(); err != nil {
		return nil, errors.New(runner.OneLine(err.Error()))
	}
	if t := checked.OutputType(); !slices.Contains(append(kinds, types.DynKind), t.Kind()) {
		return nil, fmt.Errorf("the expression is of type %s", cel.FormatCELType(t))
	}
	program, err := e.env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost), cel.InterruptCheckFrequency(checkEvery))
	return &expression{program}, err
}

func (x *expression) eval(ctx context.Context, got answer) (any, error) {
	out, _, err := x.program.ContextEval(ctx, map[string]any{"status": int64(got.status), "body": parseJSON(got.body)})
	if err != nil {
		return nil, err
	}
	return out.Value(), nil
}

// holds evaluates an expression whose result must be a bool.
func (x *expression) holds(ctx context.Context, got answer) (bool, error) {
	out, err := x.eval(ctx, got)
	if err != nil {
		return false, err
	}
	holds, ok := out.(bool)
	if !ok {
		return false, errors.New("the result is not a bool")
	}
	return holds, nil
}

// outcome evaluates an expression whose result must be a bool or the name of an outcome.
func (x *expression) outcome(ctx context.Context, got answer) (runner.Outcome, error) {
	out, err := x.eval(ctx, got)
	if err != nil {
		return "", err
	}
	switch v := out.(type) {
	case bool:
		if v {
			return runner.Success, nil
		}
		return runner.Failure, nil
	case string:
		outcome := runner.Outcome(strings.ToUpper(v))
		if slices.Contains([]runner.Outcome{runner.Success, runner.Unstable, runner.Failure, runner.Aborted}, outcome) {
			return outcome, nil
		}
	}
	return "", errNotText
}
