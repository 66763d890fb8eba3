"""Run the commands: flops, params, memory, inference, plan, measure-peak."""
