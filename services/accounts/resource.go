package accounts

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/accounts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/auth/apikey"
)

// instanceMessage is a stored instance as the contract writes it.
func instanceMessage(i store.Instance) *accountsv1.Instance {
	m := &accountsv1.Instance{
		Slug:              i.Slug,
		DisplayName:       i.DisplayName,
		TimeZone:          i.TimeZone,
		InactivityTimeout: durationpb.New(i.InactivityTimeout),
		CreateTime:        timestamp(i.CreateTime),
		UpdateTime:        timestamp(i.UpdateTime),
	}
	if i.Retention != 0 {
		m.Retention = durationpb.New(i.Retention)
	}
	return m
}

// instanceFromMessage takes what a caller may set.
func instanceFromMessage(m *accountsv1.Instance) store.Instance {
	return store.Instance{
		Slug:              m.GetSlug(),
		DisplayName:       m.GetDisplayName(),
		TimeZone:          m.GetTimeZone(),
		InactivityTimeout: m.GetInactivityTimeout().AsDuration().Truncate(time.Microsecond),
		Retention:         m.GetRetention().AsDuration().Truncate(time.Microsecond),
	}
}

// keyMessage is a stored key as the contract writes it. The prefix shows the id and nothing of the secret.
func keyMessage(k store.APIKey) *accountsv1.ApiKey {
	return &accountsv1.ApiKey{
		Id:          k.ID,
		DisplayName: k.DisplayName,
		Scopes:      k.Scopes,
		ExpireTime:  timestamp(k.ExpireTime),
		LastUseTime: timestamp(k.LastUseTime),
		Prefix:      apikey.Prefix + k.ID,
		CreateTime:  timestamp(k.CreateTime),
	}
}

// keyFromMessage takes what a caller may set.
func keyFromMessage(instance string, m *accountsv1.ApiKey) store.APIKey {
	k := store.APIKey{Instance: instance, DisplayName: m.GetDisplayName(), Scopes: m.GetScopes()}
	if m.GetExpireTime() != nil {
		k.ExpireTime = m.GetExpireTime().AsTime().Truncate(time.Microsecond)
		if k.ExpireTime.IsZero() {
			// The first moment of the year 1 is long past; the zero time would mean never.
			k.ExpireTime = k.ExpireTime.Add(time.Microsecond)
		}
	}
	return k
}

// timestamp is nil for the zero time.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
