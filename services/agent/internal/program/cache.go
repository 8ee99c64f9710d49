// Package program keeps compiled agent definitions, so that a turn does not compile what an earlier one did.
package program

import (
	"container/list"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

// loadTimeout bounds a load that several callers share, and that therefore outlives the one who asked first.
const loadTimeout = 10 * time.Second

// Definitions reads published definitions.
type Definitions interface {
	// Definition is the serialized agentv1.AgentDefinition of a version.
	Definition(ctx context.Context, instance, agentID string, version int32) ([]byte, error)
}

// Cache compiles versions when they are first asked for and keeps those last used. A version never changes, so nothing in it
// grows old. It is safe for concurrent use.
type Cache struct {
	definitions Definitions
	limit       int
	maxBytes    int
	flight      singleflight.Group

	mu    sync.Mutex
	order *list.List // of *entry, last used first
	bytes int
	byKey map[key]*list.Element
}

type key struct {
	instance, agentID string
	version           int32
}

func (k key) String() string {
	// Neither slugs nor ids have a slash.
	return k.instance + "/" + k.agentID + "/" + strconv.Itoa(int(k.version))
}

type entry struct {
	key     key
	program *flow.Program
}

// NewCache returns a cache of at most limit programs, whose indexes of intents, answers and passages together take about maxBytes at most.
// One that alone is larger is kept until the next comes.
func NewCache(definitions Definitions, limit, maxBytes int) *Cache {
	return &Cache{
		definitions: definitions, limit: limit, maxBytes: maxBytes, order: list.New(), byKey: make(map[key]*list.Element),
	}
}

// Get is the program of a version. Callers that ask for the same one at the same time share one load. Errors: those of
// Definitions, those of flow.Compile, and the context's.
func (c *Cache) Get(ctx context.Context, instance, agentID string, version int32) (*flow.Program, error) {
	k := key{instance, agentID, version}
	if p := c.lookup(k); p != nil {
		return p, nil
	}
	done := c.flight.DoChan(k.String(), func() (any, error) {
		loadCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
		defer cancel()
		return c.load(loadCtx, k)
	})
	select {
	case result := <-done:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Val.(*flow.Program), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// load makes an error of a panic: singleflight would end the process with it.
func (c *Cache) load(ctx context.Context, k key) (p *flow.Program, err error) {
	defer func() {
		if value := recover(); value != nil {
			p, err = nil, fmt.Errorf("compile definition: panic of kind %T", value)
		}
	}()
	if p := c.lookup(k); p != nil {
		return p, nil // another load ended between the look-up and this one
	}
	raw, err := c.definitions.Definition(ctx, k.instance, k.agentID, k.version)
	if err != nil {
		return nil, err
	}
	definition := &agentv1.AgentDefinition{}
	if err := proto.Unmarshal(raw, definition); err != nil {
		return nil, fmt.Errorf("decode definition: %w", err)
	}
	if p, err = flow.Compile(definition); err != nil {
		return nil, fmt.Errorf("compile definition: %w", err)
	}
	c.keep(k, p)
	return p, nil
}

func (c *Cache) lookup(k key) *flow.Program {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.byKey[k]
	if !ok {
		return nil
	}
	c.order.MoveToFront(element)
	return element.Value.(*entry).program
}

func (c *Cache) keep(k key, p *flow.Program) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, ok := c.byKey[k]; ok {
		c.order.MoveToFront(element)
		return
	}
	c.byKey[k] = c.order.PushFront(&entry{key: k, program: p})
	c.bytes += p.Size()
	for c.order.Len() > c.limit || c.bytes > c.maxBytes && c.order.Len() > 1 {
		oldest := c.order.Remove(c.order.Back()).(*entry)
		delete(c.byKey, oldest.key)
		c.bytes -= oldest.program.Size()
	}
}
