package channels

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/check"
	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/signing"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// CheckChannel implements the ChannelService.
func (s *Server) CheckChannel(ctx context.Context, r *channelv1.CheckChannelRequest) (*channelv1.CheckChannelResponse, error) {
	row, err := s.Store.Channel(ctx, r.GetInstance(), r.GetId())
	if err != nil {
		return nil, outward(err, r.GetId())
	}
	ring, err := signing.Open(s.Box, row.Secret, directory.SecretContext(row.Instance, row.ID))
	if err != nil {
		return nil, rpcerr.Internal(err)
	}
	target := check.Target{
		ID: row.ID, URL: row.WebhookURL, Secrets: ring.At(s.Clock.Now()), Timeout: row.Timeout, Test: row.Test,
	}
	if row.Acknowledgement == store.Any2xx {
		target.Acknowledgement = webhook.Any2xx
	}
	report, err := s.Checker.Run(ctx, target)
	var limited *check.LimitedError
	switch {
	case err == nil:
		return &channelv1.CheckChannelResponse{Check: reportOf(report)}, nil
	case errors.Is(err, check.ErrInProgress):
		return nil, rpcerr.New(codes.Aborted, channelv1.ErrorReason_ERROR_REASON_CHECK_IN_PROGRESS, err.Error(), "id", row.ID)
	case errors.As(err, &limited):
		return nil, rpcerr.New(codes.ResourceExhausted, accountsv1.ErrorReason_ERROR_REASON_RATE_LIMITED, limited.Error()).
			WithRetryAfter(limited.RetryAfter)
	default:
		return nil, rpcerr.FromStore(err)
	}
}

// reportOf is a report as the contract has it.
func reportOf(r *check.Report) *channelv1.ChannelCheck {
	report := &channelv1.ChannelCheck{
		Verdict: verdictOf(r.Verdict), CheckTime: timestamppb.New(r.Time), Duration: durationpb.New(r.Duration),
		Results: make([]*channelv1.ChannelCheck_Result, len(r.Results)),
	}
	for i, one := range r.Results {
		result := &channelv1.ChannelCheck_Result{
			Kind:    channelv1.ChannelCheck_Kind(channelv1.ChannelCheck_Kind_value[string(one.Kind)]),
			Verdict: verdictOf(one.Verdict), Detail: one.Detail, WebhookId: one.WebhookID,
		}
		if one.WebhookID != "" {
			result.Latency = durationpb.New(one.Outcome.Duration)
			result.StatusCode = int32(one.Outcome.StatusCode)
			result.Error = string(one.Outcome.Err)
			result.Answer = strings.ToValidUTF8(string(one.Outcome.Answer), "\uFFFD")
		}
		report.Results[i] = result
	}
	if r.TLS != nil {
		report.Tls = &channelv1.ChannelCheck_Tls{Version: r.TLS.VersionName(), CertificateIssuer: r.TLS.Issuer}
		if !r.TLS.ExpireTime.IsZero() {
			report.Tls.CertificateExpireTime = timestamppb.New(r.TLS.ExpireTime)
		}
	}
	return report
}

func verdictOf(v check.Verdict) channelv1.ChannelCheck_Verdict {
	return channelv1.ChannelCheck_Verdict(channelv1.ChannelCheck_Verdict_value[string(v)])
}
