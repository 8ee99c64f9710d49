package jsonin

import (
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// table finds the fields of a message by their JSON names without making a string of the name first.
type table map[string]protoreflect.FieldDescriptor

var tables sync.Map // protoreflect.FullName to table

func tableOf(message protoreflect.MessageDescriptor) table {
	if known, ok := tables.Load(message.FullName()); ok {
		return known.(table)
	}
	fields := message.Fields()
	made := make(table, fields.Len())
	for i := range fields.Len() {
		made[fields.Get(i).JSONName()] = fields.Get(i)
	}
	known, _ := tables.LoadOrStore(message.FullName(), made)
	return known.(table)
}
