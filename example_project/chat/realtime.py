"""The groups that keep what is said in them, for members whose connection was lost."""

from wsconsumer import Group

conversation = Group("chat.room.{slug}", keep=100, seconds=3600)
