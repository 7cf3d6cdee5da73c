package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/buildtoken/buildtoken/buildtoken/event"
)

// CEL knows job, token and request as struct types with the fields below, so a misspelt field is an
// error when the rule is compiled. The fields are read by functions instead of reflection. The type
// names are not CEL identifiers: a rule cannot construct such a value.
const (
	jobTypeName     = "<job>"
	tokenTypeName   = "<token>"
	requestTypeName = "<request>"
	eventTypeName   = "<event>"
)

func jobType() *types.Type     { return cel.ObjectType(jobTypeName) }
func tokenType() *types.Type   { return cel.ObjectType(tokenTypeName) }
func requestType() *types.Type { return cel.ObjectType(requestTypeName) }
func eventType() *types.Type   { return cel.ObjectType(eventTypeName) }

// structs returns the fields of each struct type by name.
func structs() map[string]map[string]*types.FieldType {
	return map[string]map[string]*types.FieldType{
		jobTypeName: {
			"name":      text(func(j *Job) string { return j.Name }),
			"folder":    text(func(j *Job) string { return j.Folder }),
			"full_name": text(func(j *Job) string { return j.FullName }),
		},
		tokenTypeName: {
			"name": text(func(t *Token) string { return t.Name }),
		},
		requestTypeName: {
			"method":     text(func(r *Request) string { return r.Method }),
			"host":       text(func(r *Request) string { return r.Host }),
			"path":       text(func(r *Request) string { return r.Path }),
			"scheme":     text(func(r *Request) string { return r.Scheme }),
			"remote_ip":  text(func(r *Request) string { return plainAddress(r.RemoteIP) }),
			"user_agent": text(func(r *Request) string { return r.UserAgent }),
			"headers": field(cel.MapType(cel.StringType, cel.StringType),
				func(r *Request) any { return r.Headers },
				func(r *Request) bool { return len(r.Headers) > 0 }),
		},
		eventTypeName: eventFields(),
	}
}

// text is a string field; has() reports whether it is not empty.
func text[T any](get func(*T) string) *types.FieldType {
	return field(cel.StringType,
		func(v *T) any { return types.String(get(v)) },
		func(v *T) bool { return get(v) != "" })
}

func field[T any](t *types.Type, get func(*T) any, isSet func(*T) bool) *types.FieldType {
	return &types.FieldType{
		Type: t,
		IsSet: func(target any) bool {
			v, ok := target.(*T)
			return ok && isSet(v)
		},
		GetFrom: func(target any) (any, error) {
			v, ok := target.(*T)
			if !ok {
				return nil, fmt.Errorf("policy: field of %T asked of %T", v, target)
			}
			return get(v), nil
		},
	}
}

// provider adds our struct types to those that CEL has.
type provider struct {
	types.Provider
	structs map[string]map[string]*types.FieldType
}

// FindStructType implements [types.Provider].
func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if _, ok := p.structs[name]; ok {
		return types.NewTypeTypeWithParam(cel.ObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldType implements [types.Provider].
func (p *provider) FindStructFieldType(name, fieldName string) (*types.FieldType, bool) {
	fields, ok := p.structs[name]
	if !ok {
		return p.Provider.FindStructFieldType(name, fieldName)
	}
	f, ok := fields[fieldName]
	return f, ok
}

// adapter wraps our structs where a rule uses one as a whole, as in job == job.
type adapter struct {
	types.Adapter
}

// NativeToValue implements [types.Adapter].
func (a adapter) NativeToValue(v any) ref.Val {
	switch v := v.(type) {
	case *Job:
		return object{v, jobType()}
	case *Token:
		return object{v, tokenType()}
	case *Request:
		return object{v, requestType()}
	case *event.Event:
		return object{v, eventType()}
	case json.Number: // of the body of a delivery, as are the next two
		return number(v)
	case map[string]any:
		return types.NewStringInterfaceMap(a, v)
	case []any:
		return types.NewDynamicList(a, v)
	}
	return a.Adapter.NativeToValue(v)
}

// object is one of our structs as a CEL value: it equals itself, and has fields.
type object struct {
	of any // a pointer
	t  *types.Type
}

// ConvertToNative implements [ref.Val]; rules never need it.
func (o object) ConvertToNative(reflect.Type) (any, error) {
	return nil, errors.New("policy: " + o.t.TypeName() + " has no other form")
}

// ConvertToType implements [ref.Val].
func (o object) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.TypeType:
		return o.t
	case o.t:
		return o
	}
	return types.NewErr("type conversion error from '%s' to '%s'", o.t.TypeName(), t.TypeName())
}

// Equal implements [ref.Val].
func (o object) Equal(other ref.Val) ref.Val {
	p, ok := other.(object)
	return types.Bool(ok && o.of == p.of)
}

// Type implements [ref.Val].
func (o object) Type() ref.Type { return o.t }

// Value implements [ref.Val].
func (o object) Value() any { return o.of }

// withStructs adds the struct types to an environment. It comes after everything that wants CEL's
// own registry.
func withStructs(e *cel.Env) (*cel.Env, error) {
	e, err := cel.CustomTypeAdapter(adapter{e.CELTypeAdapter()})(e)
	if err != nil {
		return nil, err
	}
	return cel.CustomTypeProvider(&provider{e.CELTypeProvider(), structs()})(e)
}

var (
	_ types.Provider = (*provider)(nil)
	_ types.Adapter  = adapter{}
	_ ref.Val        = object{}
)
