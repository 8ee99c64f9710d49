package conversation

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/searchtext"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/day"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// defaultLimit is how many conversations a page has unless the caller says otherwise.
const defaultLimit = 25

// scopeList names the method in cursors.
const scopeList = agentv1.ConversationService_ListConversations_FullMethodName

// sources are where conversations come from.
var sources = []string{"api_channel", "api", store.SourceAgent}

// List gives a page of conversations. Errors: REQUEST_INVALID.
func (c *Conversations) List(
	ctx context.Context, instance string, r *agentv1.ListConversationsRequest,
) (*agentv1.ListConversationsResponse, error) {
	w, invalid := c.walk(instance, r)
	from, until, more := days(r)
	if invalid = append(invalid, more...); len(invalid) > 0 {
		return nil, rpcerr.Invalid(invalid...)
	}
	filter, err := c.filter(ctx, instance, r, from, until)
	if err != nil {
		return nil, err
	}
	var found []store.ListedConversation
	// One more than asked for tells whether there is a next page.
	if w.page == 0 {
		found, w.total, err = c.Store.FirstConversations(ctx, filter, w.limit+1)
	} else {
		found, err = c.Store.ListConversations(ctx, filter, w.after, w.limit+1)
	}
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	w.page++
	answer := &agentv1.ListConversationsResponse{
		Total: w.total, CurrentPage: w.page, TotalPages: (w.total + int64(w.limit) - 1) / int64(w.limit),
	}
	if len(found) > w.limit {
		found = found[:w.limit]
		last := found[len(found)-1]
		w.after = pagetoken.Place{Time: last.CreateTime, ID: last.ID}
		cursor := c.Tokens.Encode(instance, listScope(r), w.encode())
		answer.Cursor = &cursor
	}
	for i := range found {
		shown, err := toProto(&found[i])
		if err != nil {
			return nil, err
		}
		answer.Conversations = append(answer.Conversations, shown)
	}
	return answer, nil
}

// CheckList says what is wrong with a request beside the rules of the contract.
func (c *Conversations) CheckList(instance string, r *agentv1.ListConversationsRequest) []rpcerr.Violation {
	_, invalid := c.walk(instance, r)
	_, _, more := days(r)
	return append(invalid, more...)
}

// walk is how far a caller has come through the pages.
type walk struct {
	// page is the number of the last page that was given; 0 before the first.
	page  int32
	limit int
	total int64
	after pagetoken.Place
}

// walkHead is how many bytes stand before the id in what a cursor carries: page, limit, total and time.
const walkHead = 4 + 4 + 8 + 8

func (w *walk) encode() []byte {
	raw := binary.BigEndian.AppendUint32(nil, uint32(w.page))
	raw = binary.BigEndian.AppendUint32(raw, uint32(w.limit))
	raw = binary.BigEndian.AppendUint64(raw, uint64(w.total))
	raw = binary.BigEndian.AppendUint64(raw, uint64(w.after.Time.UnixMicro()))
	return append(raw, w.after.ID...)
}

func decodeWalk(raw []byte) (w walk, ok bool) {
	if len(raw) <= walkHead {
		return walk{}, false
	}
	return walk{
		page: int32(binary.BigEndian.Uint32(raw)), limit: int(binary.BigEndian.Uint32(raw[4:])), total: int64(binary.BigEndian.Uint64(raw[8:])),
		after: pagetoken.Place{Time: time.UnixMicro(int64(binary.BigEndian.Uint64(raw[16:]))).UTC(), ID: string(raw[walkHead:])},
	}, true
}

// listScope is what a cursor is bound to.
func listScope(r *agentv1.ListConversationsRequest) string {
	return strings.Join([]string{scopeList, r.GetDateInit(), r.GetDateEnd(), searchtext.Fold(r.GetSearch()), searchtext.Fold(r.GetMeta())}, "\x00")
}

// walk reads where the caller is.
func (c *Conversations) walk(instance string, r *agentv1.ListConversationsRequest) (walk, []rpcerr.Violation) {
	first := walk{limit: defaultLimit}
	if r.Limit != nil {
		first.limit = int(r.GetLimit())
	}
	wrong := func(field, reason string) (walk, []rpcerr.Violation) {
		return first, []rpcerr.Violation{{Field: field, Reason: reason}}
	}
	switch {
	case r.GetCurrentPage() == 0 && r.GetCursor() == "":
		return first, nil
	case r.GetCurrentPage() == 0:
		return wrong("cursor", "must be absent on the first page")
	case r.GetCursor() == "":
		return wrong("cursor", "is required from the second page on")
	}
	raw, err := c.Tokens.Decode(r.GetCursor(), instance, listScope(r))
	if err != nil {
		return first, []rpcerr.Violation{pagetoken.Violation("cursor", err)}
	}
	w, ok := decodeWalk(raw)
	switch {
	case !ok:
		return wrong("cursor", "is not a token of this list")
	case w.page != r.GetCurrentPage():
		return wrong("currentPage", "is not the page that the cursor leads to")
	case r.Limit != nil && int(r.GetLimit()) != w.limit:
		return wrong("limit", "must be that of the first page")
	}
	return w, nil
}

// days reads the days between which conversations were created; nil is no bound.
func days(r *agentv1.ListConversationsRequest) (from, until *day.Day, invalid []rpcerr.Violation) {
	read := func(field, text string) *day.Day {
		if text == "" {
			return nil
		}
		d, err := day.Parse(text)
		if err != nil {
			invalid = append(invalid, rpcerr.Violation{Field: field, Reason: "must be a day of the calendar, YYYY-MM-DD"})
			return nil
		}
		return &d
	}
	from, until = read("dateInit", r.GetDateInit()), read("dateEnd", r.GetDateEnd())
	if from != nil && until != nil && until.Before(*from) {
		invalid = append(invalid, rpcerr.Violation{Field: "dateEnd", Reason: "must not be before dateInit"})
	}
	return from, until, invalid
}

// filter makes of the request what the store is asked for.
func (c *Conversations) filter(
	ctx context.Context, instance string, r *agentv1.ListConversationsRequest, from, until *day.Day,
) (*store.ConversationFilter, error) {
	f := &store.ConversationFilter{Instance: instance, Metadata: searchtext.Fold(r.GetMeta())}
	if from != nil || until != nil {
		place, err := c.location(ctx, instance)
		if err != nil {
			return nil, err
		}
		if from != nil {
			f.From = from.Start(place)
		}
		if until != nil {
			f.Until = until.Next().Start(place)
		}
	}
	// What is not in the index yet is read first: nothing goes from here to there unseen.
	if text := searchtext.Fold(r.GetSearch()); text != "" {
		return f, c.search(ctx, f, text)
	}
	var err error
	if f.Fresh, err = c.Store.FreshConversations(ctx, instance); err != nil {
		return nil, rpcerr.FromStore(err)
	}
	return f, nil
}

// search completes a filter for conversations that have a text.
func (c *Conversations) search(ctx context.Context, f *store.ConversationFilter, text string) error {
	s := &store.Search{Text: text, Messages: searchtext.IsIndexed(text)}
	agents, err := c.Store.AgentNames(ctx, f.Instance)
	if err != nil {
		return rpcerr.FromStore(err)
	}
	has := make(map[string]bool)
	for i := range agents {
		a := &agents[i]
		if strings.Contains(searchtext.Fold(a.Name()), text) || strings.Contains(searchtext.Fold(a.About()), text) {
			s.Agents = append(s.Agents, a.ID)
			has[a.ID] = true
		}
	}
	for _, source := range sources {
		if strings.Contains(source, text) {
			s.Sources = append(s.Sources, source)
			has[source] = true
		}
	}
	behind, err := c.Store.Unindexed(ctx, f.Instance)
	if err != nil {
		return rpcerr.FromStore(err)
	}
	seen, found := make(map[string]bool), make(map[string]bool)
	for i := range behind {
		t := &behind[i]
		if !seen[t.ConversationID] {
			seen[t.ConversationID] = true
			f.Fresh = append(f.Fresh, t.ConversationID)
		}
		if found[t.ConversationID] {
			continue
		}
		if has[t.AgentID] || has[t.Source] || strings.Contains(searchtext.Head(t.ConversationID, t.Identifier), text) ||
			s.Messages && strings.Contains(searchtext.Turn(t.Answer, t.Record), text) {
			found[t.ConversationID] = true
			s.Found = append(s.Found, t.ConversationID)
		}
	}
	f.Search = s
	return nil
}

// location is the time zone of the instance, in which its days are.
func (c *Conversations) location(ctx context.Context, instance string) (*time.Location, error) {
	found, err := c.Instances.Get(ctx, instance)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	place, err := time.LoadLocation(found.GetTimeZone())
	if err != nil {
		return nil, rpcerr.Internal(err)
	}
	return place, nil
}

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }
