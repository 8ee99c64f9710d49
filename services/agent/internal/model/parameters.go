package model

import (
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/shared"

	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

// parameters is a prompt as the protocol has it.
func parameters(p *flow.Prompt) openai.ChatCompletionNewParams {
	asked := openai.ChatCompletionNewParams{Model: p.Settings.GetName()}
	if p.Settings.Temperature != nil {
		asked.Temperature = openai.Float(p.Settings.GetTemperature())
	}
	for i := range p.Messages {
		asked.Messages = append(asked.Messages, message(&p.Messages[i]))
	}
	for _, tool := range p.Tools {
		asked.Tools = append(asked.Tools, openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
			Name: tool.Name, Description: openai.String(tool.Description), Parameters: tool.Parameters,
		}))
	}
	return asked
}

func message(u *flow.Utterance) openai.ChatCompletionMessageParamUnion {
	switch u.Role {
	case flow.RoleSystem:
		return openai.SystemMessage(u.Text)
	case flow.RolePerson:
		return openai.UserMessage(u.Text)
	case flow.RoleTool:
		return openai.ToolMessage(u.Text, u.UseID)
	default:
		return assistant(u)
	}
}

func assistant(u *flow.Utterance) openai.ChatCompletionMessageParamUnion {
	said := &openai.ChatCompletionAssistantMessageParam{}
	if u.Text != "" {
		said.Content.OfString = openai.String(u.Text)
	}
	for _, use := range u.Uses {
		said.ToolCalls = append(said.ToolCalls, openai.ChatCompletionMessageToolCallUnionParam{
			OfFunction: &openai.ChatCompletionMessageFunctionToolCallParam{
				ID:       use.ID,
				Function: openai.ChatCompletionMessageFunctionToolCallFunctionParam{Name: use.Tool, Arguments: use.Arguments},
			},
		})
	}
	return openai.ChatCompletionMessageParamUnion{OfAssistant: said}
}
