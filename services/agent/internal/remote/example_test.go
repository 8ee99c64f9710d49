package remote_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
)

// greeter is a whole program: it says hello word by word, counts the turns of the conversation, and offers a person.
type greeter struct {
	agentv1.UnimplementedEngineServiceServer
}

func (greeter) AnswerTurn(turn *agentv1.AnswerTurnRequest, to grpc.ServerStreamingServer[agentv1.AnswerTurnResponse]) error {
	if md, _ := metadata.FromIncomingContext(to.Context()); len(md.Get("authorization")) != 1 || md.Get("authorization")[0] != "Bearer sesame" {
		return status.Error(codes.Unauthenticated, "no such token")
	}
	if turn.GetPostback() == "index0" {
		return to.Send(&agentv1.AnswerTurnResponse{Step: &agentv1.AnswerTurnResponse_Handoff{Handoff: &agentv1.Handoff{Squad: "vendas"}}})
	}
	for _, word := range []string{"Olá, ", turn.GetContact()["name"], "! "} {
		if err := to.Send(&agentv1.AnswerTurnResponse{Step: &agentv1.AnswerTurnResponse_Text{Text: &agentv1.TextPiece{Piece: word}}}); err != nil {
			return err
		}
	}
	count := turn.GetContext().GetFields()["count"].GetNumberValue() + 1
	kept := &structpb.Struct{Fields: map[string]*structpb.Value{"count": structpb.NewNumberValue(count)}}
	if err := to.Send(&agentv1.AnswerTurnResponse{Step: &agentv1.AnswerTurnResponse_Context{Context: kept}}); err != nil {
		return err
	}
	return to.Send(&agentv1.AnswerTurnResponse{Step: &agentv1.AnswerTurnResponse_Message{Message: &messagev1.Message{
		Content: &messagev1.Message_Buttons{Buttons: &messagev1.Buttons{
			Text: fmt.Sprintf("Mensagem %v. Quer falar com alguém?", count), Options: []*messagev1.Option{{Label: "Sim"}},
		}},
	}}})
}

// The definition of its agent has `remote: {target: "…", tokenSecret: …}`. Here Prosa's part is played by a client.
func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := grpc.NewServer() // in earnest with grpc.Creds: Prosa speaks TLS
	agentv1.RegisterEngineServiceServer(server, greeter{})
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()

	connection, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	defer func() { _ = connection.Close() }()
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer sesame")
	stream, err := agentv1.NewEngineServiceClient(connection).AnswerTurn(ctx, &agentv1.AnswerTurnRequest{
		Instance: "loja", Text: "oi", Contact: map[string]string{"name": "Ana"},
	})
	if err != nil {
		panic(err)
	}
	for {
		step, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			panic(err)
		}
		switch s := step.GetStep().(type) {
		case *agentv1.AnswerTurnResponse_Text:
			fmt.Printf("text %q\n", s.Text.GetPiece())
		case *agentv1.AnswerTurnResponse_Message:
			fmt.Printf("buttons %q\n", s.Message.GetButtons().GetText())
		case *agentv1.AnswerTurnResponse_Context:
			fmt.Printf("keep %d value\n", len(s.Context.GetFields()))
		}
	}
	// Output:
	// text "Olá, "
	// text "Ana"
	// text "! "
	// keep 1 value
	// buttons "Mensagem 1. Quer falar com alguém?"
}
