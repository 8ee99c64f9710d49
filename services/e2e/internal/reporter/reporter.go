// Package reporter is a reporting job as somebody outside writes it, from the documentation of the Contacts API alone: it uses net/http
// and nothing of Prosa.
package reporter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Reporter asks one instance.
type Reporter struct {
	// URL is the server's, Instance and Token what the provider gave.
	URL, Instance, Token string
	HTTP                 *http.Client
}

// Filters are those of /contacts and of /events, as far as each has them.
type Filters struct {
	ID          int64  `json:"id,omitempty"`
	AssistantID int64  `json:"assistantId,omitempty"`
	Identifier  string `json:"identifier,omitempty"`
	ExternalID  string `json:"externalId,omitempty"`
	ContactID   int64  `json:"contactId,omitempty"`
	EventName   string `json:"eventName,omitempty"`
	StartDate   string `json:"startDate,omitempty"`
	EndDate     string `json:"endDate,omitempty"`
	Source      string `json:"source,omitempty"`
	Sort        string `json:"sort,omitempty"`
	Limit       int    `json:"limit,omitempty"`
}

// Query is a body of /contacts or /events.
type Query struct {
	Filters    Filters           `json:"filters"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Flags      map[string]bool   `json:"flags,omitempty"`
	Pagination *string           `json:"pagination,omitempty"`
}

// Contact is an attendance as /contacts gives it.
type Contact struct {
	ID           int64             `json:"id"`
	Identifier   string            `json:"identifier"`
	AssistantID  int64             `json:"assistantId"`
	Source       string            `json:"source"`
	ExternalID   *string           `json:"externalId"`
	Interactions int64             `json:"interactions"`
	DateCreated  string            `json:"dateCreated"`
	FinishedAt   *string           `json:"finishedAt"`
	Attributes   map[string]string `json:"attributes"`
}

// Event is one as /events gives it.
type Event struct {
	ID          int64   `json:"id"`
	AssistantID int64   `json:"assistantId"`
	Channel     string  `json:"channel"`
	ContactID   int64   `json:"contactId"`
	ExternalID  *string `json:"externalId"`
	EventID     int64   `json:"eventId"`
	EventName   string  `json:"eventName"`
	Date        string  `json:"date"`
}

// Contacts walks all pages of a query. Between two pages it calls between, which may be nil.
func (r *Reporter) Contacts(ctx context.Context, q Query, between func(page int)) ([]Contact, error) {
	var all []Contact
	count := ""
	err := r.walk(ctx, "contacts", q, between, func(body []byte) (*string, int, error) {
		var page struct {
			Contacts    []Contact `json:"contacts"`
			ResultCount string    `json:"resultCount"`
			Pagination  *string   `json:"pagination"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return nil, 0, err
		}
		if count != "" && count != page.ResultCount {
			return nil, 0, fmt.Errorf("resultCount was %s and is %s", count, page.ResultCount)
		}
		count = page.ResultCount
		all = append(all, page.Contacts...)
		return page.Pagination, len(page.Contacts), nil
	})
	if err != nil {
		return nil, err
	}
	if want, err := strconv.Atoi("0" + count); err != nil || want != len(all) {
		return nil, fmt.Errorf("resultCount is %q, and %d came", count, len(all))
	}
	return all, nil
}

// Events does the same with /events.
func (r *Reporter) Events(ctx context.Context, q Query, between func(page int)) ([]Event, error) {
	var all []Event
	count := -1
	err := r.walk(ctx, "events", q, between, func(body []byte) (*string, int, error) {
		var page struct {
			Events      []Event `json:"events"`
			ResultCount int     `json:"resultCount"`
			Pagination  *string `json:"pagination"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return nil, 0, err
		}
		if count >= 0 && count != page.ResultCount {
			return nil, 0, fmt.Errorf("resultCount was %d and is %d", count, page.ResultCount)
		}
		count = page.ResultCount
		all = append(all, page.Events...)
		return page.Pagination, len(page.Events), nil
	})
	if err != nil {
		return nil, err
	}
	if max(count, 0) != len(all) {
		return nil, fmt.Errorf("resultCount is %d, and %d came", count, len(all))
	}
	return all, nil
}

// walk asks for page after page, until one has no pagination.
func (r *Reporter) walk(
	ctx context.Context, path string, q Query, between func(page int), read func(body []byte) (next *string, size int, err error),
) error {
	limit := q.Filters.Limit
	if limit == 0 {
		limit = 100
	}
	for page := 1; ; page++ {
		body, found, err := r.ask(ctx, path, q)
		if err != nil || !found {
			return err
		}
		next, size, err := read(body)
		if err != nil {
			return fmt.Errorf("page %d of /%s: %w", page, path, err)
		}
		if size == 0 || size > limit || next != nil && size != limit {
			return fmt.Errorf("page %d of /%s has %d results", page, path, size)
		}
		if next == nil {
			return nil
		}
		q.Pagination = next
		if between != nil {
			between(page)
		}
	}
}

// ask sends one query. It waits when the server says that there were too many, and tries again when the server is away: queries change
// nothing.
func (r *Reporter) ask(ctx context.Context, path string, q Query) (body []byte, found bool, err error) {
	text, err := json.Marshal(q)
	if err != nil {
		return nil, false, fmt.Errorf("encode query: %w", err)
	}
	for {
		status, wait, body, err := r.send(ctx, path, text)
		switch {
		case err != nil || status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
			select {
			case <-time.After(max(wait, 50*time.Millisecond)):
			case <-ctx.Done():
				return nil, false, fmt.Errorf("ask /%s: %w (%w)", path, ctx.Err(), err)
			}
		case status == http.StatusNotFound: // nothing matched
			return body, false, nil
		case status == http.StatusOK:
			return body, true, nil
		default:
			return nil, false, fmt.Errorf("ask /%s: status %d: %s", path, status, body)
		}
	}
}

func (r *Reporter) send(ctx context.Context, path string, text []byte) (status int, wait time.Duration, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL+"/"+path+"/"+r.Instance, bytes.NewReader(text))
	if err != nil {
		return 0, 0, nil, fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("x-api-key", r.Token)
	request.Header.Set("Content-Type", "application/json")
	response, err := r.HTTP.Do(request)
	if err != nil {
		return 0, 0, nil, fmt.Errorf("send query: %w", err)
	}
	defer response.Body.Close()
	if body, err = io.ReadAll(response.Body); err != nil {
		return 0, 0, nil, fmt.Errorf("read answer: %w", err)
	}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
		wait = time.Duration(seconds) * time.Second
	}
	return response.StatusCode, wait, body, nil
}
