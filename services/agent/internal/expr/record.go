package expr

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// recordType is a CEL type for a variable whose fields are fixed. Unlike a map's, a field that it does not have is found when the
// expression is compiled; and a field that is empty is both `”` and not `has`.
type recordType struct {
	cel    *cel.Type
	fields map[string]*types.FieldType
}

var (
	inputType = newRecord("prosa.Input", map[string]func(*Values) any{
		"text":     func(v *Values) any { return v.Input.Text },
		"postback": func(v *Values) any { return v.Input.Postback },
		"label":    func(v *Values) any { return v.Input.Label },
	})
	intentType = newRecord("prosa.Intent", map[string]func(*Values) any{
		"name":       func(v *Values) any { return v.Intent.Name },
		"confidence": func(v *Values) any { return v.Intent.Confidence },
	})
	instanceType = newRecord("prosa.Instance", map[string]func(*Values) any{
		"slug": func(v *Values) any { return v.Instance.Slug },
		"name": func(v *Values) any { return v.Instance.Name },
	})
	agentType = newRecord("prosa.Agent", map[string]func(*Values) any{
		"id":   func(v *Values) any { return v.Agent.ID },
		"name": func(v *Values) any { return v.Agent.Name },
	})
	recordTypes = []*recordType{inputType, intentType, instanceType, agentType}
)

var errNoRecord = errors.New("not a record of this scope")

func newRecord(name string, fields map[string]func(*Values) any) *recordType {
	r := &recordType{cel: cel.ObjectType(name), fields: make(map[string]*types.FieldType, len(fields))}
	for field, get := range fields {
		of := types.StringType
		if _, isNumber := get(&Values{}).(float64); isNumber {
			of = types.DoubleType
		}
		r.fields[field] = &types.FieldType{
			Type: of,
			IsSet: func(target any) bool {
				values, ok := target.(*Values)
				return ok && !reflect.ValueOf(get(values)).IsZero()
			},
			GetFrom: func(target any) (any, error) {
				values, ok := target.(*Values)
				if !ok {
					return nil, errNoRecord
				}
				return get(values), nil
			},
		}
	}
	return r
}

// record is a value of a recordType: a view of a scope's values.
type record struct {
	of     *recordType
	values *Values
}

// ConvertToNative implements ref.Val. A record has no form outside of expressions.
func (r record) ConvertToNative(to reflect.Type) (any, error) {
	return nil, fmt.Errorf("convert %s to %s: not possible", r.of.cel, to)
}

// ConvertToType implements ref.Val.
func (r record) ConvertToType(to ref.Type) ref.Val {
	if to == types.TypeType {
		return r.of.cel
	}
	return types.NewErr("convert %s to %s: not possible", r.of.cel, to)
}

// Equal implements ref.Val. A record equals itself.
func (r record) Equal(other ref.Val) ref.Val { return types.Bool(other == ref.Val(r)) }

// Type implements ref.Val.
func (r record) Type() ref.Type { return r.of.cel }

// Value implements ref.Val.
func (r record) Value() any { return r.values }

// provider is CEL's types and those of the records.
type provider struct{ types.Provider }

func find(name string) *recordType {
	i := slices.IndexFunc(recordTypes, func(r *recordType) bool { return r.cel.TypeName() == name })
	if i < 0 {
		return nil
	}
	return recordTypes[i]
}

// FindStructType implements types.Provider.
func (p provider) FindStructType(name string) (*types.Type, bool) {
	if r := find(name); r != nil {
		return types.NewTypeTypeWithParam(r.cel), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	if r := find(name); r != nil {
		names := make([]string, 0, len(r.fields))
		for field := range r.fields {
			names = append(names, field)
		}
		slices.Sort(names)
		return names, true
	}
	return p.Provider.FindStructFieldNames(name)
}

// FindStructFieldType implements types.Provider.
func (p provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if r := find(name); r != nil {
		found, ok := r.fields[field]
		return found, ok
	}
	return p.Provider.FindStructFieldType(name, field)
}

// NewValue implements types.Provider. An expression cannot make a record.
func (p provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if find(name) != nil {
		return types.NewErr("make %s: not possible", name)
	}
	return p.Provider.NewValue(name, fields)
}
