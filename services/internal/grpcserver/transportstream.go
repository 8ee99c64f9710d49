package grpcserver

import (
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// transportStream takes the headers and trailers that the handler of a unary call within the process sets.
type transportStream struct {
	method string

	mu              sync.Mutex
	sent, ended     bool
	header, trailer metadata.MD
}

var _ grpc.ServerTransportStream = (*transportStream)(nil)

var errSent = status.Error(codes.Internal, "headers or trailers were sent already")

// Method is the full method.
func (s *transportStream) Method() string { return s.method }

// SetHeader adds to the headers.
func (s *transportStream) SetHeader(md metadata.MD) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sent {
		return errSent
	}
	s.header = joined(s.header, md)
	return nil
}

// SendHeader adds to the headers for the last time. They reach the caller together with the answer.
func (s *transportStream) SendHeader(md metadata.MD) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sent {
		return errSent
	}
	s.header, s.sent = joined(s.header, md), true
	return nil
}

// SetTrailer adds to the trailers.
func (s *transportStream) SetTrailer(md metadata.MD) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errSent
	}
	s.trailer = joined(s.trailer, md)
	return nil
}

// end refuses what comes after the handler, and gives what it set.
func (s *transportStream) end() (header, trailer metadata.MD) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent, s.ended = true, true
	return s.header, s.trailer
}

// joined adds to what was set before. Whoever sets something gives it away, so the first needs no copy.
func joined(before, md metadata.MD) metadata.MD {
	if before == nil {
		return md
	}
	return metadata.Join(before, md)
}
